# What fix and prove share: bugs and mutants, the copies that they are applied to, and
# how a copy is built and tested.
#
# A bug is chapters/NN-slug/bugs/NAME.patch, and goes by the name NN-NAME. A mutant is
# common/test/mutants/NN/NAME.patch, or common/test/mutants/common/NAME.patch, and
# goes by mutants/NN/NAME. docs/adding-a-chapter.md says what stands in them.
#
# Whoever loads this sets $home to the clone, and $BUILD to its build tree.
# shellcheck shell=bash

here=$home/common/test

# --- Patches ------------------------------------------------------------------

# bug_files [NN] and mutant_files [NN|common]: those of one chapter, or all.
bug_files() {
    local chapters="${1:-[0-9][0-9]}" files
    # shellcheck disable=SC2206 # a pattern it may be
    files=("$home"/chapters/$chapters-*/bugs/*.patch)
    [[ ! ${files[0]-} ]] || printf '%s\n' "${files[@]}"
}
mutant_files() {
    local folders="${1:-*}" files
    # shellcheck disable=SC2206 # a pattern it may be
    files=("$home"/common/test/mutants/$folders/*.patch)
    [[ ! ${files[0]-} ]] || printf '%s\n' "${files[@]}"
}

# name_of FILE: what the patch in this file goes by. Fails where it can be none.
name_of() {
    local file=${1#"$home/"}
    local bug='^chapters/([0-9][0-9])-[a-z0-9-]+/bugs/([a-z0-9-]+)\.patch$'
    local mutant='^common/test/(mutants/([0-9][0-9]|common)/[a-z0-9-]+)\.patch$'
    if [[ $file =~ $bug ]]; then
        echo "${BASH_REMATCH[1]}-${BASH_REMATCH[2]}"
    elif [[ $file =~ $mutant ]]; then
        echo "${BASH_REMATCH[1]}"
    else
        return 1
    fi
}

# read_patch FILE [PLACE]: what stands above the diff. PLACE is where the patch has its
# place, if this file is a copy. Sets
#
#     name      what it goes by
#     kind      bug or mutant
#     chapter   the folder of its chapter, "13-uring-read"; empty for one of common/
#     field     by name: Title, Report, Seen, Try, Fails, Shows
#     hints     one after the other
#     test      the file of tests that has the one in `Fails`
#     touched   the files that it changes
#
# Else it says what is wrong, on one line for each, and fails.
read_patch() {
    local file=$1 place=${2:-$1} line number=0 key='' value known needed wrong=()
    local begin='^([A-Z][a-z]*):[[:blank:]]*(.*)$'
    declare -gA field=([Title]='')
    hints=() touched=() kind=bug chapter='' test=''
    place=${place#"$home/"}
    if ! name=$(name_of "$home/$place"); then
        echo "$place: not a place for a bug or a mutant, or not a plain name"
        return 1
    fi
    [[ $name != mutants/* ]] || kind=mutant
    if [[ $kind == bug ]]; then
        chapter=${place#chapters/} chapter=${chapter%%/*}
        needed='Title Report Seen Try Hint Fails Shows' known=$needed
    else
        needed='Title Fails Shows' known="$needed Test"
        [[ $name == mutants/common/* ]] && needed+=' Test'
        [[ $name == mutants/common/* ]] || chapter=$(chapter_folder "${name:8:2}")
    fi
    if [[ ! -r $file ]]; then
        echo "$place: there is no such file"
        return 1
    fi

    local in_header=yes
    while IFS= read -r line || [[ $line ]]; do
        number=$((number + 1))
        if [[ $line =~ ^(---|\+\+\+)\ ([^[:blank:]]+) ]]; then
            # A line that a hunk takes out may begin so, too, but not with a path.
            value=${BASH_REMATCH[2]}
            in_header=''
            case $value in
                a/* | b/*) touched+=("${value:2}") ;;
                /dev/null) ;;
                *) [[ ${touched[0]-} ]] ||
                    wrong+=("$number: a path in the diff begins with a/ or b/") ;;
            esac
            continue
        fi
        [[ $in_header ]] || continue
        if [[ $line =~ $begin ]]; then
            key=${BASH_REMATCH[1]} value=${BASH_REMATCH[2]}
            if [[ " $known " != *" $key "* ]]; then
                wrong+=("$number: a $kind has no field '$key'")
            elif [[ $key == Hint ]]; then
                hints+=("$value")
            elif [[ ${field[$key]-} ]]; then
                wrong+=("$number: a second '$key'")
            fi
            field[$key]=$value
        elif [[ $line =~ ^[[:blank:]]+([^[:blank:]].*)$ && $key ]]; then
            value=${BASH_REMATCH[1]}
            field[$key]+=${field[$key]:+ }$value
            [[ $key != Hint ]] || hints[-1]+=${hints[-1]:+ }$value
        elif [[ $line =~ ^[[:blank:]]*$ ]]; then
            key=''
        else
            wrong+=("$number: neither 'Field: text', nor a line that goes on (indented)")
            key=''
        fi
    done <"$file"

    for key in $needed; do
        [[ ${field[$key]-} =~ [^[:blank:]] ]] || wrong+=(" there is no '$key'")
    done
    [[ $kind == mutant || ${#field[Title]} -le 48 ]] || wrong+=(' the title has more than 48 characters')
    for key in "${!field[@]}"; do # A blank at the end can't be seen.
        while [[ ${field[$key]} == *[[:blank:]] ]]; do
            field[$key]=${field[$key]%?}
        done
    done
    mapfile -t touched < <(printf '%s\n' ${touched[@]+"${touched[@]}"} | sort -u)
    [[ ${touched[0]-} ]] || wrong+=(' there is no diff below the fields')
    for value in ${touched[@]+"${touched[@]}"}; do
        [[ ! $value || (! $value =~ (^|/)\.\.(/|$) && $value != common/test/* &&
            ($value == common/* || (${chapter:-none} != none &&
            $value == "chapters/$chapter/"*))) ]] ||
            wrong+=(" it may not change $value")
    done
    if [[ $name == mutants/[0-9]* && ! $chapter ]]; then
        wrong+=(" there is no chapter ${name:8:2}")
    fi
    test=${field[Test]-}
    [[ $test ]] || test=chapters/$chapter/test.bats
    [[ ${#wrong[@]} == 0 ]] || printf "$place:%s\n" "${wrong[@]}"
    [[ ${#wrong[@]} == 0 ]]
}

# chapter_folder NN: its name.
chapter_folder() {
    local folders=("$home/chapters/$1"-*/)
    [[ ${folders[0]-} ]] || return 0
    folders[0]=${folders[0]%/}
    echo "${folders[0]##*/}"
}

# select_patches WHAT: sets `files` to those of a chapter (13), of common/ ("common"), to
# the one of that name, or to all. Fails if there is no such name.
select_patches() {
    local file what=$1
    files=()
    case $what in
        all) mapfile -t files < <(bug_files && mutant_files) ;;
        [0-9] | [0-9][0-9])
            [[ $what == ?? ]] || what=0$what
            mapfile -t files < <(bug_files "$what" && mutant_files "$what")
            ;;
        common) mapfile -t files < <(mutant_files common) ;;
        *)
            for file in "$home"/chapters/[0-9][0-9]-*/bugs/*.patch \
                "$home"/common/test/mutants/*/*.patch; do
                [[ $what != "$(name_of "$file")" && ! $what -ef $file ]] ||
                    files+=("$file")
            done
            [[ ${files[0]-} ]]
            ;;
    esac
}

# to_write FILE: does this bug leave something for its reader to write?
to_write() { grep -q '^+.*is yours to write' "$1"; }

# --- A copy -------------------------------------------------------------------

# lay TREE [CHAPTER]: a tree of links to the clone, in which common/ and this chapter's
# folder are copies. In build/ are links to what is built; bin/ has them to all
# programs, but for those of the chapter.
lay() {
    local tree=$1 own=${2-} entry entries
    mkdir -p "$tree"/{chapters,build,bin,.fix} || return
    entries=()
    for entry in "$home"/* "$home"/.[a-z]*; do
        case ${entry##*/} in
            chapters | common | build | .git | .fix) ;;
            *) entries+=("$entry") ;;
        esac
    done
    ln -srt "$tree" "${entries[@]}" || return
    entries=()
    for entry in "$home"/chapters/*; do
        [[ ${entry##*/} == "$own" ]] || entries+=("$entry")
    done
    [[ ! ${entries[0]-} ]] || ln -srt "$tree/chapters" "${entries[@]}" || return
    copy_sources "$home" "$tree" "$own" || return
    entries=()
    for entry in "$BUILD"/*; do
        case ${entry##*/} in
            bin | scratch | fix | docs | asan | tsan | clang) ;;
            *) entries+=("$entry") ;;
        esac
    done
    [[ ! ${entries[0]-} ]] || ln -srt "$tree/build" "${entries[@]}" || return
    ln -s ../bin "$tree/build/bin" && link_programs "$tree" "$own"
}

# copy_sources FROM TO [CHAPTER]: common/, and the chapter's folder. Not the bugs.
copy_sources() {
    mkdir -p "$2/chapters" && cp -RL "$1/common" "$2" &&
        rm -rf "$2/common/test/mutants" || return
    if [[ ${3-} ]]; then
        cp -RL "$1/chapters/$3" "$2/chapters" && rm -rf "$2/chapters/$3/bugs"
    fi
}

# link_programs TREE [CHAPTER]: also those that came since it was laid.
link_programs() {
    local program links=()
    for program in "$BUILD"/bin/*; do
        [[ ${2-} && ${program##*/} == "${2%%-*}"-* || -e $1/bin/${program##*/} ]] ||
            links+=("$program")
    done
    [[ ! ${links[0]-} ]] || ln -srft "$1/bin" "${links[@]}"
}

# apply TREE FILE FUZZ: the patch. Prints what patch(1) has to say.
apply() {
    patch -d "$1" -p1 -F "$3" -N -r - --no-backup-if-mismatch <"$2" 2>&1
}

# --- Building it --------------------------------------------------------------

# programs_of TREE CHAPTER: its lesson, then its experiments.
programs_of() {
    local folder=$1/chapters/$2 file
    for file in "$folder/${2#*-}.c" "$folder"/*.c; do
        grep -qs '^int main(' "$file" || continue
        file=${file##*/}
        echo "${2%%-*}-${file%.c}"
    done | awk '!seen[$0]++'
}

# source_of PROGRAM: where it is in a tree.
source_of() { echo "chapters/$(chapter_folder "${1%%-*}")/${1#*-}.c"; }

# cc_words TREE PROGRAM: sets `words` to those of the cc line at its source's top. What
# the tree has lost, the clone has.
cc_words() {
    local tree line
    [[ $2 != make-sample ]] || line='cc -D_FILE_OFFSET_BITS=64 -Icommon
        common/sample/make-sample.c common/?*.c -lz -o make-sample'
    for tree in "$1" "$home"; do
        [[ ! ${line-} ]] || break
        line=$(awk '
            /^ \* Build: cc / { on = 1; sub(/Build: /, "") }
            on { sub(/^ \* */, ""); more = sub(/\\$/, ""); print }
            on && !more { exit }
            /\*\// { exit }' "$tree/$(source_of "$2")")
    done
    read -rd '' -a words <<<"$line" || :
    [[ ${words[0]-} ]]
}

# sources TREE PROGRAM: sets `sources` to those of its own, `options` and `libraries`
# to what else its cc line has, and `serves` if that names common/server. Paths are those
# in the tree.
sources() {
    local words word found
    sources=() options=() libraries=() serves=''
    cc_words "$1" "$2" || return
    for word in "${words[@]:1}"; do
        case $word in
            -o | "$2" | common/'?*.c') ;;
            common/server/*.c) serves=yes ;;
            -I* | -L*) options+=("${word:0:2}$1/${word:2}") ;;
            -l* | -pthread) libraries+=("$word") ;;
            -*) options+=("$word") ;;
            *)
                # shellcheck disable=SC2086 # a pattern it may be
                mapfile -t found < <(cd "$1" && printf '%s\n' $word)
                sources+=("${found[@]}")
                ;;
        esac
    done
}

# program_of TREE FILE...: which program of $chapter are these files of? What several
# share counts as the lesson's.
program_of() {
    local tree=$1 program sources options libraries serves names
    shift
    mapfile -t names < <(programs_of "$tree" "$chapter")
    for program in "${names[@]}"; do
        [[ " $* " != *" $(source_of "$program") "* ]] || {
            echo "$program"
            return
        }
    done
    for program in "${names[@]}"; do
        sources "$tree" "$program" || continue
        [[ " ${sources[*]} " != *" $1 "* ]] || {
            echo "$program"
            return
        }
    done
    echo "${names[0]-}"
}

# from_cache NAME: a value in CMakeCache.txt.
from_cache() { sed -n "s/^$1:[A-Z]*=//p" "$BUILD/CMakeCache.txt" 2>/dev/null; }

# get_ready: how the clone's own objects were built, so that those of a copy fit.
get_ready() {
    local flags
    compiler=$(from_cache CMAKE_C_COMPILER)
    compiler=${compiler:-${CC:-cc}}
    flags="$(from_cache CMAKE_C_FLAGS) $(from_cache CMAKE_C_FLAGS_RELWITHDEBINFO)"
    read -ra cflags <<<"-std=gnu17 -Wall -Wextra ${flags:- -O2 -g}"
    # A sanitizer maps far more than it uses.
    [[ $flags != *-fsanitize=* ]] || export WITHIN_DATA=unlimited
}

# differs TREE FILE: from the clone's?
differs() { ! cmp -s "$1/$2" "$home/$2"; }

# object TREE FILE: sets `object` to that of the clone if it was made from the same
# sources. Else it is made, in the background, and its messages are in OBJECT.said.
object() {
    local tree=$1 file=$2 built
    built=("$BUILD"/CMakeFiles/*.dir/"$file.o")
    if [[ ! $headers_differ && ${built[0]-} -nt $home/$file ]] &&
        ! differs "$tree" "$file"; then
        object=${built[0]}
        return
    fi
    object=$tree/.fix/objects/${file//\//,}.o
    [[ " ${objects_made[*]-} " != *" $object "* ]] || return 0
    objects_made+=("$object")
    rm -f "$object"
    while (($(jobs -rp | wc -l) >= at_once)); do wait -n; done
    (cd "$home" && exec "$compiler" "${cflags[@]}" "${options[@]}" -c \
        "$tree/$file" -o "$object") >"$object.said" 2>&1 &
}

# changed_common TREE: sets `headers_differ`, and `common_sources` to those files of
# common/ that are not the clone's.
changed_common() {
    local file differing
    headers_differ='' common_sources=()
    differing=$(LC_ALL=C diff -rqN -x test "$home/common" "$1/common") && return
    for file in $(cd "$1" && echo common/*.[ch] common/server/*.[ch]); do
        [[ $differing == *"Files $home/$file and $1/$file differ"* ]] || continue
        if [[ $file == *.h ]]; then headers_differ=yes; else common_sources+=("$file"); fi
    done
}

# compile TREE PROGRAM...: build them into bin/ of the tree. What the compiler and the
# linker say is printed. What is as in the clone is taken from there.
compile() (
    local tree=$1 program file object own common=() server=() objects_made=()
    local sources options libraries serves headers_differ common_sources status=0
    local -A objects=() linked=()
    shift
    # Paths in messages shall be ones that an editor finds from the clone.
    [[ $tree != "$home"/* ]] || tree=${tree#"$home/"}
    cd "$home" && mkdir -p "$tree/.fix/objects" || return
    changed_common "$tree"
    for file in "$tree"/chapters/*/*.h; do
        [[ -L ${file%/*} ]] || ! differs "$tree" "${file#"$tree/"}" ||
            headers_differ=yes
    done
    [[ ! $headers_differ ]] ||
        mapfile -t common_sources < <(cd "$tree" &&
            printf '%s\n' common/*.c common/server/*.c)
    options=(-D_FILE_OFFSET_BITS=64 "-I$tree/common"
        "-DSAMPLE_FILE=\"$BUILD/sample.data\"")
    for file in ${common_sources[@]+"${common_sources[@]}"}; do
        object "$tree" "$file"
        if [[ $file == common/server/* ]]; then server+=("$object"); else common+=("$object"); fi
    done
    for program; do
        if ! sources "$tree" "$program"; then
            echo "$(source_of "$program"): no line ' * Build: cc ... -o $program'"
            return 1
        fi
        own=()
        for file in "${sources[@]}"; do
            object "$tree" "$file"
            own+=("$object")
        done
        objects[$program]=$(printf '%s\n' "${own[@]}")
        linked[$program]="$serves"$'\n'${libraries[*]-}
    done
    wait
    for object in ${objects_made[@]+"${objects_made[@]}"}; do
        cat "$object.said"
        [[ -e $object ]] || status=1
    done
    ((status == 0)) || return
    for program; do
        mapfile -t own <<<"${objects[$program]}"
        read -ra libraries <<<"${linked[$program]#*$'\n'}"
        if [[ ${linked[$program]} != $'\n'* ]]; then
            own+=(${server[@]+"${server[@]}"} "$BUILD/libserver.a")
        fi
        file=$tree/bin/$program
        [[ $program != make-sample ]] || file=$tree/build/$program
        rm -f "$file"
        # Objects of common/ that changed stand before the archive: it has
        # nothing more to give in their place.
        "$compiler" "${cflags[@]}" "${own[@]}" ${common[@]+"${common[@]}"} \
            "$BUILD/libcommon.a" ${libraries[@]+"${libraries[@]}"} -o "$file" 2>&1 ||
            return
    done
)

# --- Testing it ---------------------------------------------------------------

# as_regex TEXT: an extended regular expression that only it matches.
as_regex() { sed -E 's/[][\\.*^$+?(){}|]/\\&/g' <<<"$1"; }

# tests_in FILE: its tests, as "TAGS:TITLE". TAGS are parted and enclosed by commas.
tests_in() {
    local line tags='' file_tags=''
    local title='^[[:blank:]]*@test[[:blank:]]+(.*[^[:blank:]])[[:blank:]]+\{'
    local tag='^[[:blank:]]*#[[:blank:]]*bats[[:blank:]]+(test|file)_tags=(.*)$'
    while IFS= read -r line; do
        if [[ $line =~ $tag ]]; then
            [[ ${BASH_REMATCH[1]} != file ]] || file_tags=${BASH_REMATCH[2]// /}
            [[ ${BASH_REMATCH[1]} != test ]] || tags=${BASH_REMATCH[2]// /}
        elif [[ $line =~ $title ]]; then
            line=${BASH_REMATCH[1]#[\'\"]}
            echo ",$file_tags,$tags,:${line%[\'\"]}"
            tags=''
        fi
    done <"$1"
}

# has_test FILE TITLE
has_test() { tests_in "$1" | cut -d : -f 2- | grep -Fqx -- "$2"; }

# run_test TREE FILE TITLE LOG: run this one test, with what is in the tree. What it
# says goes to the file LOG. Sets `verdict` to passed, failed, skipped, endless (it does
# not end), flood (it prints without end), or missing (no such test has run).
# shellcheck disable=SC2034 # for the caller
run_test() {
    local tree=$1 file=$2 title=$3 log=$4 status=0 scratch variable built_in=$1/build
    [[ $tree != "$home" ]] || built_in=$BUILD
    scratch=$(mktemp -d "$TMPDIR/test.XXXXXX") || return
    (
        echo "$BASHPID" >"$log.pid"
        # Not with the variables of a bats that may have started us, nor its folder
        # of parts, where there is a "bats" of another kind.
        for variable in "${!BATS_@}"; do
            [[ $variable == BATS_LIB* ]] || unset "$variable"
        done
        cd "$tree" && exec env -u BATS_LIBEXEC PATH="${PATH#"${BATS_LIBEXEC-}:"}" \
            ROOT="$tree" BUILD="$built_in" BIN="$built_in/bin" TMPDIR="$scratch" \
            RIGHT_BIN="$BUILD/bin" \
            "$here/within" "$limit" bats --formatter tap \
            --print-output-on-failure -f "^$(as_regex "$title")\$" "$tree/$file"
    ) >"$log" 2>&1 </dev/null || status=$?
    chmod -R u+rwX "$scratch" 2>/dev/null
    rm -rf "$scratch"
    if ((status == 124)); then
        verdict=endless
        echo "# it never ends (stopped after $limit s)" >>"$log"
    elif ((status == 125)); then
        verdict=flood
        echo '# it never stops printing' >>"$log"
    elif grep -aq '^not ok ' "$log"; then
        verdict=failed
    elif grep -aq '^ok 1 .* # skip' "$log"; then
        verdict=skipped
    elif grep -aq '^ok 1 ' "$log"; then
        verdict=passed
    else
        verdict=missing
    fi
}

# why_skipped LOG
why_skipped() { sed -n 's/^ok 1 .* # skip *//p' "$1"; }

# command_for PROGRAM PATH: `Try`, with that path for each % that stands alone.
command_for() {
    perl -e '
        my ($try, $path) = @ARGV;
        $path =~ s/([^\w\/.,:+=-])/\\$1/g;
        $try =~ s/(?<![\w%])%(?![\w%])/$path/g;
        print "$try\n"' "${field[Try]}" "$1"
}

# run_try FOLDER COMMAND LOG: what the command prints goes to LOG, with its exit status
# if that is not 0. Files that it leaves go to TMPDIR.
run_try() {
    local status=0 began=$SECONDS
    (cd "$1" && exec env TMPDIR="$TMPDIR" "$here/within" "$try_limit" bash -c "$2") \
        >"$3" </dev/null || status=$?
    # A command may end with 124 by itself: timeout(1) does.
    ((status != 124 || SECONDS - began >= try_limit)) || status='124, not in time'
    case $status in
        0) ;;
        124) echo "(it never ends: stopped after $try_limit s)" >>"$3" ;;
        125) echo '(it never stops printing)' >>"$3" ;;
        *) echo "(exit status $status)" >>"$3" ;;
    esac
}

# patience SECONDS: so long on a quiet machine. As many times longer as each processor
# has work for more than one, six times at most.
patience() {
    awk -v seconds="$1" -v processors="$(getconf _NPROCESSORS_ONLN)" '{
        times = $1 / processors
        times = times < 1 ? 1 : times > 6 ? 6 : times
        printf "%d\n", seconds * times
    }' /proc/loadavg
}
limit=${FIX_LIMIT:-$(patience 20)} # seconds for a test
try_limit=${FIX_TRY_LIMIT:-$(patience 8)}
at_once=2                 # how many compilers, or tests
export BATS_LIB_PATH=${BATS_LIB_PATH:-/usr/lib/bats:/usr/lib}
