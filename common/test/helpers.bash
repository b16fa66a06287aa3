# What the tests share. A test.bats loads it with
#
#     load ../../common/test/helpers
#
# $ROOT is the repository, $BUILD the build tree, $BIN the programs in it. Files
# that a test makes belong below $BATS_TEST_TMPDIR: it is private to the test,
# and CTest puts it below the build tree, on a real disk. Three tests run at once,
# so nobody may drop pages of a file that somebody else reads: make_file.
# shellcheck shell=bash

bats_require_minimum_version 1.8.0
# Each test loads all this anew. The first one of a run writes the functions of these two
# libraries into one file: they start a process for each of their own files.
#
# And bats looks at every command, to tell where a test failed. That takes longer than
# most commands do. In these files it need not: the line of the test that calls tells.
if [[ -r $BATS_RUN_TMPDIR/libraries.bash ]]; then
    # shellcheck disable=SC1091 # written below
    source "$BATS_RUN_TMPDIR/libraries.bash"
else
    known=$(compgen -A function | sort)
    bats_load_library bats-support
    bats_load_library bats-assert
    # shellcheck disable=SC2016,SC2046 # for that function; names
    {
        declare -f $(compgen -A function | sort | comm -13 <(echo "$known") -)
        declare -f bats_debug_trap | sed '2a \
            [[ $1 != */common/test/*.bash && $1 != */libraries.bash ]] || return 0'
    } >"$BATS_RUN_TMPDIR/libraries.$$"
    mv "$BATS_RUN_TMPDIR/libraries.$$" "$BATS_RUN_TMPDIR/libraries.bash"
    unset known
fi

ROOT=${ROOT:-$(cd "${BASH_SOURCE[0]%/*}/../.." && pwd -P)}
BUILD=${BUILD:-$ROOT/build}
BIN=${BIN:-$BUILD/bin}
# What this machine can do is asked of the programs in RIGHT_BIN, else of those in BIN.
# A copy under repair can't be asked: patches.bash names the chapter's own.
PAGE=${PAGE:-$(getconf PAGESIZE)}
export ROOT BUILD BIN PAGE

# The same bytes from every machine: bars in UTF-8, no colors, messages in
# English. CTest hands over whatever its user has set.
export LC_ALL=C.UTF-8 NO_COLOR=1 TERM=dumb
unset LANGUAGE COLUMNS

# make_file BYTES [NAME]: make a private file, print its path. It counts, so no
# two blocks of it are alike, and a block read from the wrong place gives another
# checksum. Once synced its pages are clean, and can be dropped.
make_file() {
    local first=$BATS_RUN_TMPDIR/sample-$1 file=$BATS_TEST_TMPDIR/${2:-sample-$1}
    [[ -e $first ]] || seq 10000000 $((10000000 + $1 / 9)) | head -c "$1" >"$first"
    [[ -d ${file%/*} ]] || mkdir -p "${file%/*}"
    dd if="$first" of="$file" bs=1M conv=fsync status=none
    echo "$file"
}

# shared_file BYTES NAME: set $FILE to one that the tests of a file have in common, one
# after the other.
shared_file() {
    FILE=$BATS_FILE_TMPDIR/$2
    [[ -e $FILE ]] || BATS_TEST_TMPDIR=$BATS_FILE_TMPDIR make_file "$1" "$2" >/dev/null
}

# crc32_of FILE: by another hand than the programs'. gzip writes the CRC-32 of
# what it packed near the end, low byte first: RFC 1952.
crc32_of() {
    gzip -c <"$1" | tail -c 8 | head -c 4 | od -An -v -tx1 |
        { read -r a b c d && echo "$d$c$b$a"; }
}

# fact NAME [NTH]: the value in the first (or NTH) line "NAME: value" of
# $output. Programs with several passes print their facts for each.
fact() {
    local line nth=${2:-1}
    while IFS= read -r line; do
        [[ $line == "$1: "* ]] || continue
        ((--nth == 0)) || continue
        echo "${line#"$1: "}"
        return
    done <<<"${output?}"
    echo "no fact '$1'${2:+ number $2} in the output" >&2
    return 1
}

# in_submit [NTH]: how many blocks of how many had come when submit returned, "8 of
# 8", from the fact `completed: 8 in submit, 0 in wait, 0 at work, 0 between`.
in_submit() {
    local completed submit wait work between _
    completed=$(fact completed "$@") || return
    read -r submit _ _ wait _ _ work _ _ between _ <<<"$completed"
    echo "$submit of $((submit + wait + work + between))"
}

# checksum_of_01 [OPTION]...: what chapter 01 makes of $FILE. All spine chapters
# read the same bytes.
checksum_of_01() {
    # shellcheck disable=SC2153 # The tests set FILE.
    "$BIN/01-blocking-read" "$@" "$FILE" | sed -n 's/^checksum: //p' | sort -u
}

# code_lines SOURCE: how many of its lines hold code, by another hand than
# count_print()'s.
code_lines() {
    perl -0777 -pe 's{/\*.*?\*/}{}gs; s/^\s*\n//gm' "$1" | wc -l
}

# as_regex TEXT: an extended regular expression that only it matches. A path may hold
# any character.
as_regex() { sed -E 's/[][\\.*^$+?(){}|]/\\&/g' <<<"$1"; }

# one_line TEXT: as a reason for a skip has to be.
one_line() { tr -s '\n' ' ' <<<"$1" | sed 's/ $//'; }

# --- What this machine may not have -------------------------------------------

# asked NAME COMMAND...: set $answer to what it prints, stderr as well, and end as it
# does. The first test of a run asks, the rest read what came.
asked() {
    local file=$BATS_RUN_TMPDIR/asked-$1 new=$BATS_RUN_TMPDIR/asked.$BASHPID ended=0
    if [[ ! -e $file ]]; then
        "${@:2}" >"$new.text" 2>&1 || ended=$?
        { echo "$ended" && cat "$new.text"; } >"$new"
        mv "$new" "$file"
    fi
    { read -r ended && IFS= read -r -d '' answer; } <"$file" || :
    answer=${answer%$'\n'}
    return "$ended"
}

# asked_to_check PROGRAM: its own answer to whether this machine can show it.
asked_to_check() { asked "$1" "${RIGHT_BIN:-$BIN}/$1" --check; }

# needs PROGRAM: skip unless the program says that this machine can show it.
needs() {
    local answer ended=0
    asked_to_check "$1" || ended=$?
    case $ended in
        0) ;;
        77) skip "$(one_line "${answer#"$1: "}")" ;;
        *)
            echo "$1 --check: status $ended: $answer" >&2
            return 1
            ;;
    esac
}

need_uring() { needs 12-uring-setup; }
need_aio() { needs 08-io-submit; }

# need_cold: skip where pages can't be dropped from the cache.
need_cold() {
    local answer
    asked cold read_cold || :
    [[ $answer == *', cold:'* ]] ||
        skip "pages of files in $BATS_TEST_TMPDIR stay in the cache"
}

read_cold() {
    "${RIGHT_BIN:-$BIN}/01-blocking-read" "$(make_file 65536 .cold)" | head -n 1
}

# need_strace: skip where we may not look.
need_strace() {
    command -v strace >/dev/null || skip 'strace is not installed'
    local answer
    asked strace strace -o /dev/null true ||
        skip "strace can't trace here: $(one_line "$answer")"
    # LeakSanitizer looks for leaks with ptrace as well, and only one can.
    if built_with address; then
        export ASAN_OPTIONS=${ASAN_OPTIONS:+$ASAN_OPTIONS:}detect_leaks=0
    fi
}

# built_with SANITIZER: "address", say.
built_with() {
    grep -q "^CMAKE_C_FLAGS:.*-fsanitize=[a-z,]*$1" "$BUILD/CMakeCache.txt" \
        2>/dev/null
}

# in_time COMMAND...: run it, for a minute at most. If it is not done by then, its
# stderr says so.
in_time() {
    local ended=0
    timeout --kill-after=5 60 "$@" || ended=$?
    ((ended != 124 && ended != 137)) || echo 'it never ends' >&2
    return "$ended"
}

# limited PROGRAM: set $limited to a command that runs one where no process and no
# thread more may be made, and $here to a folder in which it may read and write,
# for the test to remove. The limit does not hold for root (setrlimit(2)). So root
# takes on a number that nobody else has, and that one must reach the program, a
# copy of it and the folder.
limited() {
    here=$(mktemp -d /tmp/in-circles.XXXXXX)
    chmod 1777 "$here"
    cp "$BIN/$1" "$here"
    local other=$((2000000 + BASHPID)) become=()
    ((EUID != 0)) ||
        become=(setpriv "--reuid=$other" "--regid=$other" --clear-groups)
    # LeakSanitizer makes a thread at the end.
    # shellcheck disable=SC2016 # for that shell
    limited=(env TMPDIR="$here" ASAN_OPTIONS="${ASAN_OPTIONS:-}:detect_leaks=0"
        timeout --kill-after=5 60 bash -c 'ulimit -u 1; exec "$@"' bash
        "${become[@]}")
    local why=''
    if ! "${limited[@]}" "$here/$1" --help >/dev/null 2>"$here/why"; then
        why="another user can't be made to run it: $(one_line "$(<"$here/why")")"
    elif ! "${limited[@]}" perl -e 'exit defined fork'; then
        why='a limit of processes does not hold here'
    fi
    [[ $why ]] || return 0
    rm -r "$here"
    skip "$why"
}

# --- Evidence from strace -----------------------------------------------------

# strace_calls CALLS PROGRAM [ARGUMENTS]: run it under strace, which writes
# these calls (comma-separated) down. Sets $status, $output and $stderr as `run
# --separate-stderr` does.
strace_calls() {
    local calls=$1
    shift
    STRACE_LOG=$BATS_TEST_TMPDIR/strace.log
    run --separate-stderr \
        strace -f -y -o "$STRACE_LOG" -e "trace=$calls" -e signal=none "$@"
    strace_unquoted
}

# strace_unquoted: strace writes some bytes of a path in octal, and others with a
# backslash. Those that the clone, and its scratch folder, have in their names are
# put back, so that a test can look for the path as it is.
strace_unquoted() {
    local odd='[^ -~]|["\\<>]'
    [[ $ROOT$TMPDIR$BUILD =~ $odd ]] || return 0
    perl -i -pe '
        BEGIN {
            for my $path (@ENV{qw(TMPDIR BUILD ROOT)}) {
                (my $quoted = $path) =~ s{(["\\])|([^ -~]|[<>])}
                    {$1 ? "\\$1" : sprintf("\\%o", ord($2))}eg;
                push @paths, [$quoted, $path];
            }
        }
        for my $pair (@paths) { s/\Q$pair->[0]\E/$pair->[1]/g }' "$STRACE_LOG"
}

# calls NAME [TEXT]...: those lines of the log, in their order, that are calls
# of NAME and hold all of the TEXTs. strace -y writes a descriptor's path behind
# it, so a path tells the program's own pread64() from the loader's.
calls() (
    trap - DEBUG # Else bats looks at every command, for each line of the log.
    local name=$1 text line
    shift
    while IFS= read -r line; do
        [[ $line =~ ^[0-9]+\ +"$name"\( ]] || continue
        for text; do
            [[ $line == *"$text"* ]] || continue 2
        done
        printf '%s\n' "$line"
    done <"$STRACE_LOG"
)

# count_calls NAME [TEXT]...
count_calls() { calls "$@" | wc -l; }

# --- Tests that look at every program -----------------------------------------

# programs: those that are built, in order. ONLY=13 leaves one, for whoever is
# at work on that one.
programs() {
    local path found=''
    # shellcheck disable=SC2231 # a pattern it shall be
    for path in "$BIN"/${ONLY:-[0-9][0-9]}-*; do
        [[ -x $path ]] || continue
        found=yes
        basename "$path"
    done
    [[ $found ]] || {
        echo "no program in $BIN" >&2
        return 1
    }
}

# bats 1.8 can't make a test for each program, so a test loops over all of them,
# notes what is wrong with `problem`, and ends with `no_problems`. One bad
# program does not hide the next.
problems=()
problem() { problems+=("$*"); }
no_problems() {
    ((${#problems[@]} == 0)) || {
        printf '%s\n' "${problems[@]}"
        return 1
    }
}

# shown_here PROGRAM: false where this machine can't show it, and says so where
# run-bats finds it (bats lets comments through on descriptor 3).
shown_here() {
    local answer ended=0
    asked_to_check "$1" || ended=$?
    case $ended in
        0) return 0 ;;
        77) echo "# skipped: $(one_line "$answer")" >&3 ;;
        *) problem "$1 --check: status $ended: $answer" ;;
    esac
    return 1
}

# takes PROGRAM TEXT: does its usage line say so? A long one goes on in the next.
declare -gA USAGE=()
takes() {
    [[ -v USAGE[$1] ]] || USAGE[$1]=$("$BIN/$1" --help | sed '/^$/q')
    [[ ${USAGE[$1]} == *"$2"* ]]
}

# less_work PROGRAM: set $less to options with which it does the same things, but
# does not repeat them as often as a measurement must.
less_work() {
    local option
    less=()
    for option in --rounds=1 --operations=64 --ways=1; do
        ! takes "$1" "[${option%=*} N]" || less+=("$option")
    done
}

# attempt PROGRAM [ARGUMENTS]: run it with less work, a hang being a failure like
# others. Sets $status; what it printed is in the files $OUT and $ERR. (`run`
# would drop NUL bytes, and can't give stdout away.) $CALLED is for messages.
attempt() {
    status=0
    OUT=$BATS_TEST_TMPDIR/.out ERR=$BATS_TEST_TMPDIR/.err
    CALLED="$*"
    less_work "$1"
    timeout --kill-after=5 60 "$BIN/$1" "${less[@]}" "${@:2}" \
        >"$OUT" 2>"$ERR" </dev/null || status=$?
    ended_well
}

# slurp FILE: set $text to what is in it. Without a process: there are thousands of
# these files.
slurp() { IFS= read -r -d '' text <"$1" || :; }

# ended_well: of its own will, and not because a sanitizer stopped it.
ended_well() {
    local text
    slurp "$ERR"
    if ((status == 124)); then
        problem "$CALLED: hangs"
    elif ((status > 128)); then
        problem "$CALLED: ended by signal $((status - 128)): ${text:0:500}"
    elif [[ $text == *Sanitizer* || $text == *'runtime error:'* ]]; then
        problem "$CALLED: $(grep -m 1 -E 'Sanitizer|runtime error:' "$ERR")"
    else
        return 0
    fi
    return 1
}

# says PATTERN: does a line on stderr begin so?
says() {
    local text
    slurp "$ERR"
    # shellcheck disable=SC2053 # a pattern it is
    [[ $'\n'$text == *$'\n'$1* ]]
}

# complains PROGRAM: a message of its own on stderr?
complains() { says "$1: [!"$'\n'"]"; }

# is_json FILE. A minimal system has no tool that knows JSON, but perl, and the
# grammar is short: RFC 8259.
is_json() {
    perl -0777 -ne 'exit !m{\A (?&value) \z (?(DEFINE)
        (?<value>  \s* (?: (?&object) | (?&array) | (?&string) | (?&number)
                         | true | false | null ) \s* )
        (?<object> \{ (?: (?&member) (?: , (?&member) )* | \s* ) \} )
        (?<member> \s* (?&string) \s* : (?&value) )
        (?<array>  \[ (?: (?&value) (?: , (?&value) )* | \s* ) \] )
        (?<string> " (?: [^"\\\x00-\x1f] | \\ ["\\/bfnrt]
                       | \\ u [0-9a-fA-F]{4} )* " )
        (?<number> -? (?: 0 | [1-9][0-9]* ) (?: \. [0-9]+ )?
                   (?: [eE] [-+]? [0-9]+ )? )
        )}x' "$1"
}

# strace_short CALLS PROGRAM [ARGUMENTS]: strace_calls with common/test/short.c
# between the program and the kernel, so that its reads come back short. A path
# in LD_PRELOAD may hold no blank, one in LD_LIBRARY_PATH may.
strace_short() {
    ASAN_OPTIONS=$ASAN_OPTIONS:verify_asan_link_order=0 \
        strace_calls "$1" -E LD_PRELOAD=libshort.so \
        -E LD_LIBRARY_PATH="$BUILD" "${@:2}"
}

# block_devices FILE: set $DEVICES to a block device whose bytes are those of
# FILE, by its own name, by that of a link, and by that of another node. All of
# it is gone with the test: a loop device ends with the last descriptor.
block_devices() {
    local loop device link=$BATS_TEST_TMPDIR/link node=$BATS_TEST_TMPDIR/node
    command -v losetup >/dev/null || skip 'losetup is not installed'
    device=$(losetup -f --show "$1" 2>&1) ||
        skip "no loop device here: $(one_line "$device")"
    # shellcheck disable=SC2034 # it only has to be open
    exec {loop}<"$device"
    losetup -d "$device"
    ln -s "$device" "$link"
    DEVICES=("$device" "$link")
    # shellcheck disable=SC2046 # two numbers
    ! mknod "$node" b $(stat -c '%Hr %Lr' "$device") || DEVICES+=("$node")
}

# failing_disk SCRIPT: run it where $DISK is an ext4 whose every new block fails:
# its image is in a tmpfs that is full. All is gone with the mount namespace.
failing_disk() {
    command -v mkfs.ext4 >/dev/null || skip 'mkfs.ext4 is not installed'
    unshare -m true || skip 'this user may not mount, or not here'
    export SMALL=$BATS_TEST_TMPDIR/small DISK=$BATS_TEST_TMPDIR/disk
    mkdir "$SMALL" "$DISK"
    run --separate-stderr unshare -m bash -c '
        mount -t tmpfs -o size=12m none "$SMALL" || exit 77
        truncate -s 64M "$SMALL/image"
        mkfs.ext4 -q -O ^has_journal -E lazy_itable_init=0,nodiscard \
            "$SMALL/image" >&2 || exit 77
        mount -o loop,errors=continue "$SMALL/image" "$DISK" || exit 77
        sync "$DISK"
        head -c 16M /dev/zero >"$SMALL/rest" 2>/dev/null
        '"$1"
    [[ $status != 77 ]] || skip "no disk that fails: $(one_line "$stderr")"
}
