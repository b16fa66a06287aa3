#!/usr/bin/env bats
#
# ./tour itself: its words, what it does with the chapters' exit statuses, its
# keys, and its set-up.
#
# Most tests give tour a tree of its own: a small one whose chapters end as the
# test needs it, in a folder with a space in its name. Nothing there depends on
# what this machine can show, and nothing touches the real build.

bats_require_minimum_version 1.5.0
bats_load_library bats-support
bats_load_library bats-assert

# small_tree FOLDER: three chapters. 01 is fine and prints its arguments, 02
# can't be shown here, 03 fails. 01 has an experiment as well, and a file that is
# none.
small_tree() {
    local name
    mkdir -p "$1/chapters"
    cp "$ROOT/tour" "$ROOT/CMakePresets.json" "$1"
    for name in 01-fine 02-absent 03-broken; do
        mkdir "$1/chapters/$name"
        # shellcheck disable=SC2016 # Markdown, not commands
        printf '# %s · The `%s` one\n\nText of %s.\n' \
            "${name%%-*}" "${name#*-}" "$name" >"$1/chapters/$name/README.md"
    done
    cat >>"$1/chapters/02-absent/README.md" <<'END'

```c
## Run it
```

```console
$ ./tour 02 --other
not this one
```

## Run it

```console
$ ./tour 02
# a line of 02
```

Between two blocks.

```console
$ ./tour 02 -n 2
two lines
of 02
```

## Try it

```console
$ ./tour 02-more
a line of 02-more
```
END
    cat >>"$1/chapters/03-broken/README.md" <<'END'

**Predict.** Two [questions](../01-fine/README.md) about `broken`,
in two lines.

1. The first?
2. The second?
   Its end.

After the list.
END
    cat >"$1/chapters/01-fine/fine.c" <<'END'
#include <stdio.h>
int main(int argc, char **argv)
{
    puts("01 ran");
    for (int i = 1; i < argc; i++)
        printf("argument: %s\n", argv[i]);
    if (argc == 2 && argv[1][0] != '-') {
        FILE *f = fopen(argv[1], "r");
        char line[80];
        if (!f || !fgets(line, sizeof(line), f))
            return 1;
        fputs(line, stdout);
    }
    return 0;
}
END
    cat >"$1/chapters/01-fine/extra.c" <<'END'
/*
 * 01-extra · One `more`
 */
#include <stdio.h>
int main(int argc, char **argv)
{
    puts("extra ran");
    for (int i = 1; i < argc; i++)
        printf("argument: %s\n", argv[i]);
    return 0;
}
END
    echo '/* int main( is not here. */' >"$1/chapters/01-fine/helper.c"
    cat >"$1/chapters/02-absent/absent.c" <<'END'
#include <stdio.h>
int main(void)
{
    fputs("02-absent: no such thing here\n", stderr);
    return 77;
}
END
    cat >"$1/chapters/03-broken/broken.c" <<'END'
#include <stdio.h>
int main(void)
{
    fputs("03-broken: it broke\n", stderr);
    return 3;
}
END
    cat >"$1/CMakeLists.txt" <<'END'
cmake_minimum_required(VERSION 3.22)
project(small LANGUAGES C)
enable_testing()
add_custom_target(sample)
foreach(name 01-fine 02-absent 03-broken)
  string(SUBSTRING ${name} 3 -1 slug)
  add_executable(${name} chapters/${name}/${slug}.c)
  set_target_properties(${name} PROPERTIES RUNTIME_OUTPUT_DIRECTORY bin)
  add_test(NAME ${name} COMMAND ${name})
endforeach()
add_executable(01-extra chapters/01-fine/extra.c)
set_target_properties(01-extra PROPERTIES RUNTIME_OUTPUT_DIRECTORY bin)
add_test(NAME faults COMMAND sh -c [[echo "deep $DEEP only ${ONLY-all}"; exit 3]])
set_tests_properties(faults PROPERTIES LABELS deep)
END
}

# sham_tree: make $SHAM, a tree that is built, it seems, and never builds
# anything. Put its path/ first in PATH.
sham_tree() {
    SHAM=$BATS_TEST_TMPDIR/sham
    mkdir -p "$SHAM"/{build/bin,chapters,path}
    cp "$ROOT/tour" "$SHAM"
    touch -d '1 minute ago' "$SHAM/CMakeLists.txt"
    touch "$SHAM/build/build.ninja"
    echo "CMAKE_HOME_DIRECTORY:INTERNAL=$SHAM" >"$SHAM/build/CMakeCache.txt"
    printf '#!/bin/sh\necho "ninja: no work to do."\n' >"$SHAM/path/cmake"
    chmod +x "$SHAM/path/cmake"
    PATH=$SHAM/path:$PATH
}

# sham PROGRAM TITLE SCRIPT: one of its programs. The chapter comes before its
# experiments.
sham() {
    local folder=$SHAM/chapters/$1
    if [[ $1 == "${1%%-*}"-lesson ]]; then
        mkdir "$folder"
        echo "# ${1%%-*} · $2" >"$folder/README.md"
    else
        folder=$SHAM/chapters/${1%%-*}-lesson
    fi
    printf '/*\n * %s · %s\n */\nint main(void)\n' "$1" "$2" >"$folder/${1#*-}.c"
    printf '#!/bin/sh\n%s\n' "$3" >"$SHAM/build/bin/$1"
    chmod +x "$SHAM/build/bin/$1"
    echo "build bin/$1:" >>"$SHAM/build/build.ninja"
}

# tour builds in build/, whatever tree these tests now run for.
dev_tree() { [[ -z ${BUILD-} || $BUILD -ef $ROOT/build ]]; }

setup_file() {
    ROOT=$(cd "$BATS_TEST_DIRNAME/../.." && pwd -P)
    export ROOT
    export TREE="$BATS_FILE_TMPDIR/in circles"
    unset NO_COLOR
    dev_tree || return 0
    small_tree "$TREE"
    "$TREE/tour" 01 >"$BATS_FILE_TMPDIR/first-run" 2>&1
}

setup() {
    rm -f "${TREE-}/build/walk.stopped" # No test goes on where another stopped.
    dev_tree ||
        skip "tour works on build/, and these tests are for ${BUILD-}"
    export PAGER=cat
}

# on_terminal COMMAND [PROMPT KEYS]...: run a shell command on a terminal of its
# own. Whenever PROMPT shows up, type KEYS; a key that is typed too early can
# get lost. The status is the command's.
on_terminal() {
    local command=$1 char said=''
    shift
    rm -f "$BATS_TEST_TMPDIR/keys"
    mkfifo "$BATS_TEST_TMPDIR/keys"
    # Opened for both, so that neither side waits for the other.
    exec {keys}<>"$BATS_TEST_TMPDIR/keys"
    SHELL=/bin/sh TERM=xterm timeout "${patience:-60}" \
        script --quiet --return --command "$command" \
        /dev/null <&"$keys" |
        while IFS= read -r -N 1 char; do
            printf '%s' "$char"
            said+=$char
            if [[ $# -ge 2 && $said == *"$1" ]]; then
                printf '%b' "$2" >&"$keys"
                said=''
                shift 2
            fi
        done
    local status=("${PIPESTATUS[@]}")
    exec {keys}>&-
    return "${status[0]}"
}

# count TEXT: how often it stands in $output.
count() { grep -o "$1" <<<"$output" | wc -l; }

# bare_path: make a folder to be PATH, with what every system has, and nothing
# that tour would have to install. $is_root says who id(1) says we are.
bare_path() {
    BARE=$BATS_TEST_TMPDIR/bare
    local tool
    mkdir "$BARE"
    for tool in bash sh env cat dirname readlink mkdir tee tail; do
        ln -s "$(type -P "$tool")" "$BARE"
    done
    printf '#!/bin/sh\necho %s\n' "$1" >"$BARE/id"
    chmod +x "$BARE/id"
    # The libraries of bats are files, not commands, and so are manual pages:
    # hide them too.
    export BATS_LIB_PATH=$BARE/lib MANPATH=$BARE/pages
}

# fake_apt: an apt-get that writes down its arguments, and "installs" by putting
# stand-ins in place.
fake_apt() {
    cat >"$BARE/apt-get" <<'END'
#!/bin/bash
here=${0%/*}
echo "$DEBIAN_FRONTEND $*" >>"$here/log"
[[ $1 == update ]] && exit 0
for name in cc cmake ninja pkg-config bats strace perl patch socat spin fio gnuplot \
    less man; do
    printf '#!/bin/sh\n' >"$here/$name"
    /bin/chmod +x "$here/$name"
done
for name in bats-support bats-assert; do
    mkdir -p "$here/lib/$name"
    echo >"$here/lib/$name/load.bash"
done
for page in man7/signal.7 man2/read.2 man7/io_uring.7; do
    mkdir -p "$here/pages/${page%/*}"
    echo >"$here/pages/$page.gz"
done
END
    chmod +x "$BARE/apt-get"
}

all_packages='gcc libc6-dev cmake ninja-build pkg-config liburing-dev libuv1-dev zlib1g-dev'
all_packages+=' bats bats-support bats-assert strace perl-base patch socat spin fio gnuplot-nox'
all_packages+=' less man-db manpages manpages-dev'

# --- Words --------------------------------------------------------------------

@test "help goes to stdout and exits 0" {
    for word in help --help -h; do
        run -0 --separate-stderr "$TREE/tour" "$word"
        assert_line --index 0 --partial 'usage: ./tour'
        assert_output --partial './tour diff 08 13'
        [[ -z $stderr ]]
    done
}

@test "help names every word, in 24 lines of 80 columns" {
    run -0 "$TREE/tour" help
    [[ ${#lines[@]} -le 24 ]]
    refute_output --regexp $'[^\n]{81}'
    for word in from list read recorded diff fix try check check-in test docs setup \
        help; do
        assert_line --regexp "^  \./tour $word "
    done
}

@test "a wrong word gets the reason and the help on stderr, and exit 2" {
    run -2 --separate-stderr "$TREE/tour" nonsense
    refute_output
    [[ $stderr == *"no chapter, no experiment and no word 'nonsense'"*'usage: ./tour'* ]]
}

@test "a chapter too few, too many or unknown is wrong usage as well" {
    for line in 'read' 'diff 01' 'diff 01 02 03' 'list 01' 'read 99' 'test 99' \
        'setup now' '99' '1.5' '--no'; do
        # shellcheck disable=SC2086 # the words of the line
        run -2 --separate-stderr "$TREE/tour" $line
        refute_output
        [[ $stderr == 'tour: '*'usage: ./tour'* ]]
    done
}

@test "an empty word is wrong usage, not a walk" {
    run -2 --separate-stderr "$TREE/tour" ''
    refute_output
}

@test "an output that can't be written is an error" {
    for word in help list 'read 01' 'diff 01 02' 'recorded 02' ''; do
        # shellcheck disable=SC2086 # the words
        # shellcheck disable=SC2016 # for the inner shell
        run -1 bash -c '"$0" $1 >/dev/full' "$TREE/tour" "$word"
    done
}

# --- The chapters -------------------------------------------------------------

@test "list has a line for every folder" {
    run -0 "$ROOT/tour" list
    for folder in "$ROOT"/chapters/[0-9][0-9]-*/; do
        name=$(basename "$folder")
        assert_line --regexp "^${name%%-*}  "
    done
}

@test "list tells ready from what stands in the way, and from not built yet" {
    "$TREE/tour" 02 || [[ $? == 77 ]]
    rm -f "$TREE/build/bin/03-broken"
    run -0 --separate-stderr "$TREE/tour" list
    assert_line --regexp '^01  The fine one +ready$'
    assert_line --regexp '^02  The absent one +no such thing here$'
    assert_line --regexp '^03  The broken one +not built yet$'
    [[ -z $stderr ]]
}

@test "list: experiments below their chapter, with the title of their source" {
    run -0 "$TREE/tour" list
    assert_line --index 0 --regexp '^01  The fine one '
    assert_line --index 1 --regexp '^    01-extra  One more +(ready|not built yet)$'
    assert_line --index 2 --regexp '^02  The absent one '
    refute_output --partial helper
}

@test "list: no line is longer than 80 columns, and a common reason stands once" {
    sham_tree
    long='a reason that goes on and on until it is much too long for a line of a table'
    both="echo \"\${0##*/}: one reason"$'\n'"its remedy: $long, and more\" >&2; exit 77"
    sham 01-lesson 'A title that is so long that it has to be cut off in every list' "$both"
    sham 02-lesson 'Two' 'echo "02-lesson: a short reason" >&2; exit 77'
    sham 02-more 'An experiment' "$both"
    sham 03-lesson 'Three' "echo '03-lesson: $long' >&2; exit 77"
    sham 04-lesson 'Four' 'exit 4'
    sham 05-lesson 'Five' 'exit 4'
    run -0 "$SHAM/tour" list
    refute_output --regexp $'[^\n]{81}'
    assert_line --regexp '^01  A title that is so long .* not here; see below$'
    assert_line --regexp '^02  Two +a short reason$'
    assert_line --regexp '^    02-more  An experiment +not here; see below$'
    assert_line '01, 02-more: one reason'
    assert_line --regexp '^    its remedy: a reason that '
    assert_line --regexp '^03: a reason that '
    assert_line '04, 05: failed with status 4'
    [[ $(grep -c 'its remedy' <<<"$output") == 1 ]]
    [[ $(grep -c 'short reason' <<<"$output") == 1 ]]
}

@test "list says of an experiment that CMakeLists.txt does not make" {
    sham_tree
    sham 01-lesson One 'exit 0'
    cp "$SHAM/chapters/01-lesson/"{lesson,more}.c
    run -0 "$SHAM/tour" list
    assert_line --regexp '^01  One +ready$'
    assert_line '01-more: CMakeLists.txt makes no program 01-more'
}

@test "list shows titles in the C locale, too" {
    LC_ALL=C run -0 "$TREE/tour" list
    assert_line --regexp '^01  The fine one +ready$'
}

@test "a chapter goes by number, by name, and by both" {
    for name in 1 01 fine 01-fine; do
        run -0 "$TREE/tour" read "$name"
        assert_line 'Text of 01-fine.'
    done
}

@test "an experiment is built, runs, and gets its arguments" {
    rm -f "$TREE/build/bin/01-extra"
    "$TREE/tour" 01-extra
    for name in 01-extra 1-extra; do
        run -0 --separate-stderr "$TREE/tour" "$name" --yes 'two words'
        assert_output "$(printf '%s\n' 'extra ran' \
            'argument: --yes' 'argument: two words')"
        [[ -z $stderr ]]
    done
}

@test "a file without main() is no program, nor is one that is not there" {
    for line in 01-helper 01-nothing 02-extra 'read 01-helper' '01-../01-fine/fine'; do
        # shellcheck disable=SC2086 # the words
        run -2 "$TREE/tour" $line
    done
}

@test "read shows an experiment's chapter, diff the experiment itself" {
    run -0 "$TREE/tour" read 01-extra
    assert_line 'Text of 01-fine.'
    run -0 "$TREE/tour" diff 01 01-extra
    assert_line --index 0 -- '--- 01-fine/fine.c'
    assert_line --index 1 -- '+++ 01-extra/extra.c'
    assert_line '-    puts("01 ran");'
    assert_line '+    puts("extra ran");'
}

@test "recorded prints what the page has below Run it, and says what it is" {
    run -0 --separate-stderr "$TREE/tour" recorded 02
    assert_output "$(printf '%s\n' \
        'Recorded on another machine; nothing of this ran here:' '' \
        '$ ./tour 02' '# a line of 02' '' '$ ./tour 02 -n 2' 'two lines' 'of 02')"
    [[ -z $stderr ]]
}

@test "recorded prints for an experiment what the page has of it" {
    sham_tree
    sham 02-lesson Two :
    sham 02-more More :
    cp "$TREE/chapters/02-absent/README.md" "$SHAM/chapters/02-lesson"
    run -0 "$SHAM/tour" recorded 02-more
    assert_output "$(printf '%s\n' \
        'Recorded on another machine; nothing of this ran here:' '' \
        '$ ./tour 02-more' 'a line of 02-more')"
}

@test "recorded fails where the page has nothing" {
    run -1 --separate-stderr "$TREE/tour" recorded 01
    refute_output
    [[ $stderr == 'tour: the page of 01 has no recorded output' ]]
}

@test "what follows the chapter goes to its program" {
    run -0 --separate-stderr "$TREE/tour" 01 --yes 'two words' ''
    assert_output "$(printf '%s\n' '01 ran' \
        'argument: --yes' 'argument: two words' 'argument: ')"
    [[ -z $stderr ]]
}

@test "the program's exit status is tour's" {
    run -77 "$TREE/tour" 02
    run -3 "$TREE/tour" 03
}

@test "a built chapter runs without a word from tour" {
    run -0 --separate-stderr "$TREE/tour" 01
    assert_output '01 ran'
    [[ -z $stderr ]]
}

@test "so it does with the chapters' own CMakeLists.txt: nothing is left to do" {
    "$ROOT/tour" 01 # It may not be built yet.
    run -0 --separate-stderr "$ROOT/tour" 01
    assert_line --index 0 --partial '8 blocks of 64 KiB from '
    [[ -z $stderr ]]
    cd "$ROOT"
    cmake --build --preset dev
    run -0 cmake --build --preset dev -- -n
    assert_output 'ninja: no work to do.'
}

@test "a changed source is built again" {
    small_tree "$BATS_TEST_TMPDIR/tree"
    "$BATS_TEST_TMPDIR/tree/tour" 01
    sed -i 's/01 ran/01 ran anew/' "$BATS_TEST_TMPDIR/tree/chapters/01-fine/fine.c"
    run -0 --separate-stderr "$BATS_TEST_TMPDIR/tree/tour" 01
    assert_output '01 ran anew'

    echo 'not C' >"$BATS_TEST_TMPDIR/tree/chapters/01-fine/fine.c"
    run -1 --separate-stderr "$BATS_TEST_TMPDIR/tree/tour" 01
    refute_output
    [[ $stderr == *fine.c:1:*'tour: the build failed'* ]]
}

@test "a chapter for which CMakeLists.txt has no line: that is what tour says" {
    small_tree "$BATS_TEST_TMPDIR/tree"
    cd "$BATS_TEST_TMPDIR/tree"
    sed -i 's/return 3/return 0/' chapters/03-broken/broken.c
    mkdir chapters/30-hello
    cp chapters/01-fine/fine.c chapters/30-hello/hello.c
    why='tour: there is no line chapter(30-hello) in CMakeLists.txt'
    for line in 30 'test 30' ''; do
        # shellcheck disable=SC2086 # the words
        run -1 --separate-stderr ./tour $line </dev/null
        [[ $stderr == *"$why"* && $stderr != *'moved or copied'* ]]
    done
    [[ $stderr == *'tour: failed: 30-hello' ]] # The walk goes through.
    run -0 ./tour list
    assert_line --regexp '^30  hello  '
    assert_line "30: ${why#tour: }"

    # With its line it is built, and what else is wrong with it is CMake's to say.
    sed -i 's/03-broken)/03-broken 30-hello)/' CMakeLists.txt
    run -0 ./tour list
    assert_line --regexp '^30  hello +not built yet$'
    run -0 --separate-stderr ./tour 30
    assert_output '01 ran'
    rm -r build/bin/30-hello chapters/30-hello/hello.c
    touch CMakeLists.txt
    run -1 --separate-stderr ./tour 30
    [[ $stderr == *'hello.c'*'tour: the build failed'* ]]
}

@test "a tree that was moved or copied: tour does not build the original" {
    small_tree "$BATS_TEST_TMPDIR/tree"
    "$BATS_TEST_TMPDIR/tree/tour" 01
    cp -r "$BATS_TEST_TMPDIR/tree" "$BATS_TEST_TMPDIR/copy"
    run -1 --separate-stderr "$BATS_TEST_TMPDIR/copy/tour" 01
    refute_output
    [[ $stderr == *"tour: build/ was made for $BATS_TEST_TMPDIR/tree."*'remove build/'* ]]
    rm -r "$BATS_TEST_TMPDIR/copy/build"
    run -0 "$BATS_TEST_TMPDIR/copy/tour" 01

    # A build that fails for another reason gets no such advice.
    echo 'not C' >"$BATS_TEST_TMPDIR/copy/chapters/01-fine/fine.c"
    run -1 --separate-stderr "$BATS_TEST_TMPDIR/copy/tour" 01
    [[ $stderr == *'tour: the build failed'* && $stderr != *'remove build/'* ]]
}

@test "a file is found from where you stand, and tour through a link" {
    mkdir "$BATS_TEST_TMPDIR/else where"
    cd "$BATS_TEST_TMPDIR/else where"
    ln -s "$TREE/tour" go
    echo 'a line of mine' >mine.txt
    run -0 ./go 01 mine.txt
    assert_line 'a line of mine'
}

# follow PROGRAM: it lacks the sample file, and says how to make it. Do just that.
follow() {
    run -1 "$1"
    assert_output --regexp ': no sample file yet; (.*) makes it$'
    run -0 bash -c "${BASH_REMATCH[1]}"
    run -0 "$1"
    assert_line 'checksum: 745d3bcd'
}

@test "without a sample file a program says what makes it, and that does" {
    local tree=$BATS_TEST_TMPDIR/"a clone"
    mkdir "$tree"
    cp -r "$ROOT"/{CMakeLists.txt,CMakePresets.json,tour,common,chapters} "$tree"
    cd "$tree"

    # By hand, with the command at the top of the source, in a fresh clone.
    run -0 bash -c "$(sed -n '/^ \* Build: cc/,/ -o / s/^ \* *\(Build: \)*//p' \
        chapters/01-blocking-read/blocking-read.c)"
    [[ ! -e build ]]
    follow ./01-blocking-read
    # In a tree that tour has built; and in one that it never looks at.
    rm build/sample.data
    follow build/bin/01-blocking-read
    cmake --preset clang -DCMAKE_C_COMPILER=cc >&2
    cmake --build --preset clang --target 01-blocking-read >&2
    follow build/clang/bin/01-blocking-read
}

@test "diff shows both programs, and a difference is no error" {
    run -0 "$TREE/tour" diff 02 3
    assert_line --index 0 -- '--- 02-absent/absent.c'
    assert_line --index 1 -- '+++ 03-broken/broken.c'
    assert_line '-    return 77;'
    assert_line '+    return 3;'

    run -0 "$TREE/tour" diff 02 02
    refute_output
}

@test "diff fails when a program is not there" {
    small_tree "$BATS_TEST_TMPDIR/tree"
    rm "$BATS_TEST_TMPDIR/tree/chapters/02-absent/absent.c"
    run -1 "$BATS_TEST_TMPDIR/tree/tour" diff 01 02
}

@test "test runs what is quick, or all of one chapter, or all, and fails when they do" {
    run "$TREE/tour" test 01
    assert_failure
    assert_line --regexp '01-fine .* Passed'
    assert_line 'deep 1 only 01'
    refute_output --partial '02-absent'

    run "$TREE/tour" test
    assert_failure
    assert_output --partial '01-fine'
    assert_output --partial '03-broken'
    refute_output --partial 'faults'

    run "$TREE/tour" test --deep
    assert_failure
    assert_output --partial '03-broken'
    assert_line 'deep 1 only all'
}

# --- A clone ---------------------------------------------------------------------

# Git for Windows is set up to put a CR at the end of each line, and such a clone
# is then used in WSL. The files are those of the work tree, committed or not.
@test "a clone made with core.autocrlf=true has no CR in it, and runs" {
    command -v git >/dev/null || skip 'git is not installed'
    git -C "$ROOT" rev-parse --is-inside-work-tree >/dev/null 2>&1 ||
        skip "$ROOT is no clone"
    cd "$BATS_TEST_TMPDIR"
    git -c init.defaultBranch=main init -q tree
    git -C "$ROOT" ls-files -z --cached --others --exclude-standard --deduplicate |
        tar -C "$ROOT" --null --files-from=- --ignore-failed-read -c | tar -C tree -x
    git -C tree -c core.autocrlf=false add .
    git -C tree -c user.name=tour -c user.email=tour@localhost commit -qm all

    git -c core.autocrlf=true clone -q tree clone
    run -1 grep -rlI --exclude-dir=.git $'\r' clone
    run -0 clone/tour help
    assert_line --index 0 --partial 'usage: ./tour'
    run -0 clone/tour list
    assert_line --regexp '^01  Blocking read +not built yet$'
}

# --- The walk -----------------------------------------------------------------

@test "without a terminal the walk goes through, whatever the chapters say" {
    run -1 --separate-stderr "$TREE/tour" </dev/null
    assert_output "$(printf '%s\n' '=== 01  The fine one' '' '01 ran' '' \
        '=== 02  The absent one' '' "(skipped: this machine can't show it,\
 as said above; './tour recorded 02' shows it)" '' \
        '=== 03  The broken one')"
    [[ $stderr == *'02-absent: no such thing here'*'03-broken: it broke'* ]]
    [[ $stderr == *'tour: 03-broken failed with status 3'* ]]
    [[ $stderr == *'tour: failed: 03-broken' ]]
}

@test "a walk in which nothing failed exits 0" {
    small_tree "$BATS_TEST_TMPDIR/tree"
    sed -i 's/return 3/return 0/' "$BATS_TEST_TMPDIR/tree/chapters/03-broken/broken.c"
    run -0 "$BATS_TEST_TMPDIR/tree/tour" </dev/null
}

@test "on a terminal Enter goes on, s and r show, q stops" {
    run -0 on_terminal "'$TREE/tour'" 'quit ' s 'quit ' r 'quit ' '\n' 'quit ' q
    assert_output --partial '01 ran'
    assert_output --partial '#include <stdio.h>'
    assert_output --partial 'Text of 01-fine.'
    assert_output --partial '02  The absent one'
    refute_output --partial '03  The broken one'

    run -0 on_terminal "'$TREE/tour' from 01" 'quit ' q
    assert_output --partial '01 ran'
    refute_output --partial '02  The absent one'
}

@test "on a terminal the walk ends after the last chapter" {
    run -1 on_terminal "'$TREE/tour'" '02 ' '\n' '03 ' '\n' 'run it  [q] quit ' '\n' \
        'the end  [s] source  [r] page  [?] all keys  [q] quit ' '\n'
    assert_output --partial 'tour: failed: 03-broken'
}

@test "from walks from there" {
    run -1 --separate-stderr "$TREE/tour" from 2 </dev/null
    assert_line --index 0 '=== 02  The absent one'
    assert_line '=== 03  The broken one'
    run -2 "$TREE/tour" from
    run -2 "$TREE/tour" from 9
}

@test "on a terminal the walk goes on where it stopped, or from the beginning" {
    offer='You stopped before 02. [Enter] go on  [1] from the beginning  [q] quit '
    run -0 on_terminal "'$TREE/tour'" 'quit ' q
    run -0 on_terminal "'$TREE/tour'" "$offer" '\n' 'quit ' q
    refute_output --partial '01 ran'
    assert_output --partial '=== 02'

    echo 02-absent >"$TREE/build/walk.stopped"
    run -0 on_terminal "'$TREE/tour'" "$offer" 1 'quit ' q
    assert_output --partial '01 ran'
    refute_output --partial '=== 02'

    run -0 on_terminal "'$TREE/tour'" "$offer" q
    refute_output --partial '==='
}

@test "without a terminal the walk begins with the first, and remembers nothing" {
    echo 02-absent >"$TREE/build/walk.stopped"
    run -1 --separate-stderr "$TREE/tour" </dev/null
    assert_line --index 0 '=== 01  The fine one'
    [[ $(<"$TREE/build/walk.stopped") == 02-absent ]]
}

@test "what the walk remembers is gone at its end, and no harm where it is nonsense" {
    echo 09-gone >"$TREE/build/walk.stopped"
    run -0 on_terminal "'$TREE/tour'" 'quit ' q
    assert_output --partial '01 ran'
    run -1 on_terminal "'$TREE/tour' from 03" 'run it  [q] quit ' '\n' 'quit ' '\n'
    [[ ! -e $TREE/build/walk.stopped ]]
}

@test "Ctrl-C in a chapter: that is where the walk stopped" {
    sham_tree
    sham 01-lesson One 'echo 01 ran'
    sham 02-lesson Two 'echo 02 waits; exec sleep 20'
    run -130 on_terminal "'$SHAM/tour' from 02" '02 waits' '\003'
    run -0 on_terminal "'$SHAM/tour'" 'You stopped before 02.' q
    assert_output --partial 'You stopped before 02.'
}

@test "keys of the walk: p goes back, a again, a number there" {
    sham_tree
    for number in 01 02 03; do
        sham "$number-lesson" "Number $number" "echo ran $number"
    done
    run -0 on_terminal "'$SHAM/tour'" 'quit ' p 'quit ' 9 'chapter: 9' '\n' \
        'quit ' '\n' 'quit ' a 'quit ' q
    [[ $(count 'ran ..' | tr '\n' ' ') == '4 ' ]]
    [[ $output == *'ran 01'*'ran 01'*'ran 02'*'ran 02'*'[Enter] 03 '* ]]

    assert_output --partial 'There is no chapter 9.'

    run -0 on_terminal "'$SHAM/tour' from 02" 'quit ' p 'quit ' 3 'chapter: 3' '\n' \
        'quit ' 02 'chapter: 0' '\n' 'quit ' q
    [[ $output == *'ran 02'*'ran 01'*'ran 03'*'ran 02'* ]]
    [[ $(count 'ran ..') == 4 ]]
}

@test "keys of the walk: e runs the experiments, a and s mean the last that ran" {
    sham_tree
    sham 01-lesson One 'echo ran 01'
    sham 01-first First 'echo ran first'
    sham 01-second Second 'echo ran second'
    sham 02-lesson Two 'echo ran 02'
    run -0 on_terminal "'$SHAM/tour'" '[e] experiments  [?] all keys  [q] quit ' e \
        '[Enter] 01-second  [q] back to the walk ' '\n' 'quit ' s 'quit ' a 'quit ' e \
        'walk ' q 'quit ' '\n' 'quit ' e 'quit ' q
    [[ $output == *'ran 01'*'=== 01-first  First'*'ran first'*'ran second'* ]]
    assert_output --partial ' * 01-second · Second'
    [[ $(count 'ran first') == 2 && $(count 'ran second') == 2 ]]
    assert_output --partial 'This chapter has no experiments.'
    [[ ${output##*ran 02} != *'[e] experiments'* ]]
}

@test "keys of the walk: z shows the output again, in the pager" {
    run -0 on_terminal "PAGER='nl -s:' '$TREE/tour'" 'quit ' z 'quit ' '\n' 'quit ' z \
        'quit ' q
    assert_output --partial '1:01 ran'
    assert_output --partial '1:02-absent: no such thing here'
}

@test "keys of the walk: any other shows the keys; the prompt fits into 80 columns" {
    sham_tree
    sham 01-lesson One :
    sham 01-more More :
    run -0 on_terminal "'$SHAM/tour'" '] quit ' x '] quit ' '\e[A' '] quit ' q
    assert_output --partial '[Enter] the end '
    [[ $(count 'Enter     the next chapter') == 2 ]]
    for key in p a z s r e q; do
        assert_output --regexp "(^|  |"$'\n'")$key  "
    done
    [[ $output =~ '[Enter] the end'[^$'\r']*'[q] quit ' ]]
    ((${#BASH_REMATCH[0]} < 80))
}

@test "in the walk a program has a terminal, as wide as the reader's" {
    sham_tree
    sham 01-lesson One '[ -t 1 ] && [ -t 2 ] && exec 3>&1 && echo "size $(stty size <&3)"; exit 3'
    run -1 on_terminal "stty rows 33 cols 99; '$SHAM/tour'" 'quit ' q
    assert_output --partial 'size 33 99'
    assert_output --partial '01-lesson failed with status 3'
}

@test "in the walk what the page asks comes before the output, on a terminal" {
    run -0 on_terminal "'$TREE/tour' from 03" 'run it  [q] quit ' q
    asked=$(printf '%s\r\n' 'Predict. Two questions about broken,' \
        'in two lines.' '' '1. The first?' '2. The second?' '   Its end.')
    assert_output --partial "$asked"
    refute_output --partial 'After the list.'
    refute_output --partial 'it broke'

    run -1 on_terminal "'$TREE/tour' from 03" 'run it  [q] quit ' '\n' 'quit ' q
    [[ $output == *'The second?'*'it broke'* ]]

    run -1 "$TREE/tour" from 03 </dev/null
    refute_output --partial 'Predict'
}

@test "the walk's last word names what failed the last time that it ran" {
    sham_tree
    sham 01-lesson One 'echo ran 01; exit 1'
    sham 01-more More 'exit 1'
    # It fails once.
    sham 02-lesson Two 'rm "$0.once" 2>/dev/null && exit 1; exit 0'
    touch "$SHAM/build/bin/02-lesson.once"
    run -1 on_terminal "'$SHAM/tour'" 'quit ' e 'quit ' a 'quit ' '\n' 'quit ' a 'quit ' q
    assert_output --partial '02-lesson failed with status 1'
    [[ $output == *'tour: failed: 01-lesson 01-more'$'\r' ]]
}

@test "without perl the walk goes on as ever, and z says that it has nothing" {
    sham_tree
    sham 01-lesson One 'echo ran 01'
    mkdir "$SHAM/none"
    for tool in bash sh env dirname readlink rm cat grep cc pkg-config cmake ninja; do
        ln -s "$(type -P "$tool")" "$SHAM/none"
    done
    run -0 on_terminal "PATH='$SHAM/none' '$SHAM/tour'" 'quit ' z 'quit ' q
    assert_output --partial 'ran 01'
    assert_output --partial 'No output was kept.'
}

@test "in the walk recorded output follows where a program can't be shown" {
    run -0 on_terminal "'$TREE/tour' from 02" 'quit ' q
    assert_output --partial 'as said above; recorded output follows)'
    [[ $output == *'Recorded on another machine'*'# a line of 02'*'of 02'* ]]
    refute_output --partial 'not this one'
}

@test "without UTF-8 the walk says once how to get it, and a single run nothing" {
    run -1 --separate-stderr env -u LC_ALL -u LC_CTYPE -u LANG "$TREE/tour" </dev/null
    [[ $(grep -c 'export LANG=C.UTF-8' <<<"$stderr") == 1 ]]
    [[ $stderr == *'(LANG is not set)'* ]]
    run -1 --separate-stderr env LC_ALL=C "$TREE/tour" </dev/null
    [[ $stderr == *'(LC_ALL is C)'*'export LC_ALL=C.UTF-8'* ]]
    run -0 --separate-stderr env LC_ALL=C "$TREE/tour" 01
    [[ -z $stderr ]]
    run -1 --separate-stderr env LC_ALL=C.UTF-8 "$TREE/tour" </dev/null
    [[ $stderr != *UTF-8* ]]
}

# --- Check-in -----------------------------------------------------------------

@test "check-in: all can be shown, unless the output can't be written" {
    sham_tree
    sham 01-lesson One 'exit 0'
    sham 01-more More 'exit 0'
    run -0 --separate-stderr env LC_ALL=C.UTF-8 "$SHAM/tour" check-in </dev/null
    assert_line --index 0 'Ready: this machine can show all 2 programs.'
    assert_line "can't be shown: none"
    [[ -z $stderr ]]
    run -1 bash -c '"$0" check-in >/dev/full' "$SHAM/tour"
}

@test "check-in: what can't be shown, its remedy once, and a block for a mail" {
    sham_tree
    no='echo "${0##*/}: reason of $0, one that is too long for a line'$'\n''turn it on" >&2; exit 77'
    sham 01-lesson One "$no"
    sham 02-lesson Two "$no"
    sham 02-more More 'exit 0'
    sham 03-lesson Three 'echo "03-lesson: broken" >&2; exit 1'
    run -1 --separate-stderr env LC_ALL=C "$SHAM/tour" check-in </dev/null
    assert_line --index 0 "Not ready: this machine can't show 3 of 4 programs."
    assert_line --index 1 'What helps 01, 02:'
    assert_line --index 2 '    turn it on'
    [[ $(count 'turn it on') == 1 ]]
    assert_line "kernel: $(uname -sr)"
    assert_line "architecture: $(uname -m)"
    assert_line --regexp '^distribution: .'
    assert_line "file system: $(df --output=fstype "$SHAM" | tail -n 1)"
    assert_line 'locale: C (not UTF-8)'
    assert_line --regexp '^terminal: .'
    assert_line "can't be shown: 3 of 4"
    assert_line --regexp '^01: reason of '
    assert_line --regexp '^02: reason of '
    assert_line '03: failed with status 1: broken'
    refute_output --regexp $'[^\n]{81}'
    [[ $stderr == *'export LC_ALL=C.UTF-8'* ]]
}

@test "check-in: the terminal's size" {
    sham_tree
    sham 01-lesson One 'exit 0'
    run -0 on_terminal "stty rows 33 cols 99; '$SHAM/tour' check-in"
    assert_output --partial 'terminal: 33 lines, 99 columns'
}

@test "check-in where packages are missing and can't be installed says so" {
    sham_tree
    sham 01-lesson One 'exit 0'
    rm "$SHAM/build/bin/01-lesson"
    bare_path 1000
    fake_apt
    for tool in uname df stty grep; do
        ln -s "$(type -P "$tool")" "$BARE"
    done
    run -1 --separate-stderr env PATH="$BARE" "$SHAM/tour" check-in </dev/null
    assert_line --index 0 "Not ready: this machine can't show 1 of 1 programs."
    assert_line --regexp '^missing packages: cc cmake '
    assert_line '01: not built; the reason stands above'
    [[ $stderr == *'apt-get install'*'Run that as root'* ]]
}

@test "Ctrl-C ends the walk, and leaves the terminal as it was" {
    run -0 on_terminal "trap : INT; '$TREE/tour'; echo \"status \$?\"; stty" \
        'quit ' '\003'
    assert_output --partial 'status 130'
    refute_output --partial '02  The absent one'
    refute_output --partial '-echo'
    refute_output --partial '-icanon'
}

@test "Ctrl-C ends the walk even when the chapter takes it well" {
    small_tree "$BATS_TEST_TMPDIR/tree"
    cat >"$BATS_TEST_TMPDIR/tree/chapters/01-fine/fine.c" <<'END'
#include <signal.h>
#include <stdio.h>
int main(void)
{
    sigset_t set;
    int signal;
    sigemptyset(&set);
    sigaddset(&set, SIGINT);
    sigprocmask(SIG_BLOCK, &set, NULL);
    puts("01 waits");
    fflush(stdout);
    sigwait(&set, &signal);
    return 0;
}
END
    run -130 on_terminal "'$BATS_TEST_TMPDIR/tree/tour'" '01 waits' '\003'
    refute_output --partial '[q] quit'
}

@test "colors on a terminal only, and never with NO_COLOR" {
    run -0 on_terminal "'$TREE/tour' diff 02 03"
    assert_output --partial $'\e[32m+'

    NO_COLOR=1 run -0 on_terminal "'$TREE/tour' diff 02 03"
    refute_output --partial $'\e['

    run -0 "$TREE/tour" diff 02 03
    refute_output --partial $'\e['
}

# --- Set-up -------------------------------------------------------------------

@test "set-up has nothing to do where all is there" {
    run -0 "$TREE/tour" setup </dev/null
    assert_output 'tour: nothing is missing'
}

@test "root without a terminal: names the packages and goes ahead" {
    bare_path 0
    fake_apt
    run -0 --separate-stderr env PATH="$BARE" "$TREE/tour" setup </dev/null
    [[ $stderr == *"missing: $all_packages"* ]]
    [[ $stderr == *'apt-get install -y --no-install-recommends'* ]]
    run -0 cat "$BARE/log"
    assert_line --index 0 --partial 'update'
    assert_line --index 1 \
        "noninteractive install -y --no-install-recommends $all_packages"

    # Nothing is installed twice.
    run -0 env PATH="$BARE" "$TREE/tour" setup </dev/null
    assert_output 'tour: nothing is missing'
    run -0 cat "$BARE/log"
    assert_equal "${#lines[@]}" 2
}

@test "only what is missing is installed" {
    bare_path 0
    fake_apt
    "$BARE/apt-get" install
    rm "$BARE/log" "$BARE/strace"
    run -0 env PATH="$BARE" "$TREE/tour" setup </dev/null
    run -0 tail -n 1 "$BARE/log"
    assert_output 'noninteractive install -y --no-install-recommends strace'
}

@test "what only reading needs is installed with the rest, and stops nothing" {
    bare_path 0
    fake_apt
    "$BARE/apt-get" install
    rm "$BARE"/{log,less,man} "$BARE/pages/man2/read.2.gz"
    # This cmake builds nothing; the chapter is there already.
    ln -sf "$(type -P true)" "$BARE/cmake"
    run -0 env PATH="$BARE" "$TREE/tour" 01 </dev/null
    assert_output '01 ran'
    [[ ! -e $BARE/log ]]

    run -0 env PATH="$BARE" "$TREE/tour" setup </dev/null
    run -0 tail -n 1 "$BARE/log"
    assert_output --partial ' --no-install-recommends less man-db manpages-dev'
}

@test "what only reading needs and no package brings is said, and is no failure" {
    bare_path 0
    fake_apt
    sed -i '/^for page/,$d' "$BARE/apt-get"
    run -0 --separate-stderr env PATH="$BARE" "$TREE/tour" setup </dev/null
    [[ $stderr == *'only for reading: signal(7) read(2) io_uring(7)'* ]]

    # dpkg leaves manual pages out, says this grep.
    ln -s "$(type -P true)" "$BARE/grep"
    run -0 env PATH="$BARE" "$TREE/tour" setup </dev/null
    assert_output 'tour: nothing is missing'
}

@test "a chapter does not wait for what only the tests need" {
    bare_path 0
    fake_apt
    "$BARE/apt-get" install
    rm "$BARE/log" "$BARE/bats"
    # This cmake builds nothing; the chapter is there already.
    ln -sf "$(type -P true)" "$BARE/cmake"
    run -0 env PATH="$BARE" "$TREE/tour" 01 </dev/null
    assert_output '01 ran'
    [[ ! -e $BARE/log ]]
}

@test "set-up that fails says so and exits 1" {
    bare_path 0
    printf '#!/bin/sh\necho "E: no network"\nexit 100\n' >"$BARE/apt-get"
    chmod +x "$BARE/apt-get"
    run -1 --separate-stderr env PATH="$BARE" "$TREE/tour" setup </dev/null
    [[ $stderr == *'E: no network'*'could not be installed'* ]]
}

@test "set-up that brings too old a package says which" {
    bare_path 0
    printf '#!/bin/sh\n' >"$BARE/apt-get"
    chmod +x "$BARE/apt-get"
    run -1 --separate-stderr env PATH="$BARE" "$TREE/tour" setup </dev/null
    [[ $stderr == *'still missing or too old: cc cmake ninja pkg-config liburing'* ]]
}

@test "without the right to install: prints the command and exits 1" {
    bare_path 1000
    fake_apt
    for line in 'setup' '01' 'test' 'docs' ''; do
        # shellcheck disable=SC2086 # the words
        run -1 --separate-stderr env PATH="$BARE" "$TREE/tour" $line </dev/null
        refute_output
        [[ $stderr == *'   apt-get update'*'apt-get install -y'*'Run that as root'* ]]
    done
    [[ ! -e $BARE/log ]]
}

@test "sudo is used when --yes allows it" {
    bare_path 1000
    fake_apt
    printf '#!/bin/sh\necho "sudo $*" >>"%s/log"\nexec "$@"\n' "$BARE" >"$BARE/sudo"
    chmod +x "$BARE/sudo"
    for line in '--yes setup' 'setup --yes'; do
        # shellcheck disable=SC2086 # the words
        run -0 env PATH="$BARE" "$TREE/tour" $line </dev/null
        run -0 cat "$BARE/log"
        assert_line 'sudo apt-get update'
        assert_line --partial 'sudo env DEBIAN_FRONTEND=noninteractive apt-get install'
        rm "$BARE"/{log,cc,bats}
    done
}

@test "on a terminal set-up asks once" {
    bare_path 0
    fake_apt
    run -1 on_terminal "PATH='$BARE' '$TREE/tour' setup" '[Y/n] ' 'n\n'
    assert_output --partial 'Go ahead? [Y/n]'
    assert_output --partial 'nothing was installed'
    [[ ! -e $BARE/log ]]

    run -0 on_terminal "PATH='$BARE' '$TREE/tour' setup" '[Y/n] ' '\n'
    assert_output --partial 'all set up'
    [[ -e $BARE/log ]]
}

@test "on a terminal --yes leaves out the question" {
    bare_path 0
    fake_apt
    run -0 on_terminal "PATH='$BARE' '$TREE/tour' setup --yes"
    refute_output --partial 'Go ahead?'
    [[ -e $BARE/log ]]
}

@test "on a terminal a failing set-up shows the end of what it said" {
    bare_path 0
    # shellcheck disable=SC2016 # for the script
    printf '#!/bin/bash\nfor i in {1..50}; do echo "line $i."; done; exit 100\n' \
        >"$BARE/apt-get"
    chmod +x "$BARE/apt-get"
    run -1 on_terminal "PATH='$BARE' '$TREE/tour' setup --yes"
    assert_line --partial 'line 31.'
    assert_line --partial 'line 50.'
    assert_output --partial 'could not be installed'
}

@test "dnf and pacman: a suggestion, marked as not tried" {
    for manager in dnf pacman; do
        bare_path 0
        ln -s "$(type -P false)" "$BARE/$manager"
        run -1 --separate-stderr env PATH="$BARE" "$TREE/tour" setup </dev/null
        [[ $stderr == *'nobody has tried it'*"$manager "*'liburing'* ]]
        rm -r "$BARE"
    done
}

@test "no package manager at all: says what is needed" {
    bare_path 0
    run -1 --separate-stderr env PATH="$BARE" "$TREE/tour" setup </dev/null
    [[ $stderr == *'missing: cc cmake ninja pkg-config liburing libuv zlib'* ]]
}
