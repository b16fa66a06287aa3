#!/usr/bin/env bats
#
# fix, what readers do with bugs; and prove, what the gate does with them and with
# mutants. Both work here on a tree of its own, without git, with one small chapter and
# made-up patches, in a folder with a name that a careless script would split, or take
# for a pattern.

load helpers

setup_file() {
    export MADE="$BATS_FILE_TMPDIR/made"
    small_tree "$MADE"
}

# The tree is copied for each test, since the links in it are to be relative.
setup() {
    TREE="$BATS_TEST_TMPDIR/a b'\$é [1]"
    cp -r "$MADE" "$TREE"
    cd "$TREE" || return
    BUGS=$TREE/chapters/01-count/bugs MUTANTS=$TREE/common/test/mutants
    # What bats and the tests here have set is not for the tests there.
    unset ROOT BUILD BIN TMPDIR ONLY DEEP
    export FIX_LIMIT=20
}

# small_tree FOLDER: a chapter that counts, with a program, an experiment, and a test;
# built. There `tour` builds nothing.
small_tree() {
    mkdir -p "$1"/{chapters/01-count/bugs,chapters/02-other,common/{test,server},build/bin}
    cp "$ROOT"/common/test/{fix,prove,patches.bash,symptom.pl,within} "$1/common/test"
    cd "$1" || return
    printf '#!/bin/sh\nexit 0\n' >tour
    chmod +x tour
    echo '# 01 · `Counting`' >chapters/01-count/README.md
    printf '\n## How it works\n\nIt adds.\n\n### Adding\n\nOne by one.\n\n## End\n' \
        >>chapters/01-count/README.md
    echo '# 02 · Other' >chapters/02-other/README.md
    echo 'int main(void) { return 0; }' >chapters/02-other/other.c
    printf 'int add(int a, int b);\n' >common/add.h
    cat >common/add.c <<'END'
#include "add.h"
int add(int a, int b)
{
    return a + b;
}
END
    cat >chapters/01-count/count.c <<'END'
/*
 * 01 · Counting
 *
 * Build: cc -Icommon chapters/01-count/count.c common/?*.c \
 *           -o 01-count
 */
#include "add.h"
#include <err.h>
#include <stdio.h>

static int sum(int n)
{
    int total = 0;

    for (int i = 1; i <= n; i++)
        total = add(total, i);
    return total;
}

int main(void)
{
    printf("time: %p\n", (void *)&(int){0});
    printf("sum: %d\n", sum(4));
    printf("count: %d\n", 4);
    return 0;
}
END
    cat >chapters/01-count/more.c <<'END'
/*
 * 01-more · More
 *
 * Build: cc -Icommon chapters/01-count/more.c common/?*.c -o 01-more
 */
#include <stdio.h>
int main(int argc, char **argv)
{
    printf("more: %d %s\n", argc, argv[argc - 1]);
    return 0;
}
END
    # Else these were tests of this file.
    sed 's/^TEST/@test/; s/^# BATS/# bats/' >chapters/01-count/test.bats <<'END'
bats_load_library bats-support
bats_load_library bats-assert

TEST "the sum (of \"four\") is right, [is it]?" {
    run -0 "$BIN/01-count"
    assert_line 'sum: 10'
}

TEST "the count is four" {
    run -0 --separate-stderr "$BIN/01-count"
    assert_equal "$(grep count <<<"$output")" 'count: 4'
}

TEST "nobody can tell" {
    skip 'no such machine'
}

TEST "more" {
    run -0 "$BIN/01-more"
}

# BATS test_tags=source
TEST "the source is what it was" {
    [[ $(wc -l <"$ROOT/chapters/01-count/count.c") == 27 ]]
}

# BATS test_tags=deep
TEST "it takes long" {
    false
}
END
    local program
    echo 'CMAKE_C_FLAGS_RELWITHDEBINFO:STRING=-O1 -g' >build/CMakeCache.txt
    cc -O1 -g -Icommon -c common/add.c -o build/add.o
    ar rcs build/libcommon.a build/add.o
    for program in count more; do
        cc -O1 -g -Icommon "chapters/01-count/$program.c" build/add.o -o "build/bin/01-$program"
    done
    printf '#!/bin/sh\necho other\n' >build/bin/02-other
    chmod +x build/bin/02-other
}

the_sum='the sum (of \"four\") is right, [is it]?'
printed_sum='the sum (of "four") is right, [is it]?'

# patch_of FILE EXPRESSION: the change that this perl makes to a file of the tree.
patch_of() {
    local folder
    folder=$(mktemp -d "$BATS_TEST_TMPDIR/patch.XXXXXX")
    perl -0pe "$2" "$1" >"$folder/new"
    diff -u --label "a/$1" --label "b/$1" "$1" "$folder/new"
    [[ $? == 1 ]]
}

# bug NAME EXPRESSION [FIELD]...: one in count.c, with these fields in place of the usual.
bug() {
    local name=$1 change field key
    local -A value=([Title]="Title of $1" [Report]="It is not as it should be."
        [Seen]='the project, issue 7' [Try]='%'
        [Hint]=$'look closer\nHint: The page, "How it works"; it has more.'
        [Fails]=$the_sum [Shows]='sum: 10')
    change=$(patch_of chapters/01-count/count.c "$2")
    shift 2
    for field; do value[${field%%:*}]=${field#*: }; done
    for key in Title Report Seen Try Hint Fails Shows; do
        echo "$key: ${value[$key]}"
    done >"$BUGS/$name.patch"
    printf '\n%s\n' "$change" >>"$BUGS/$name.patch"
}

off_by_one='s/i <= n/i < n/'
endless='s/int total = 0;/int total = 0;\n    for (volatile int i = 1; i; i = 1)\n        continue;/'

# mutant NAME FILE EXPRESSION FIELD...
mutant() {
    mkdir -p "$MUTANTS/${1%/*}"
    printf '%s\n' "Title: A mutant" "${@:4}" '' "$(patch_of "$2" "$3")" \
        >"$MUTANTS/$1.patch"
}

prove() { common/test/prove "$@"; }
fix() { common/test/fix "$@"; }

# mend EXPRESSION [COPY]
mend() { perl -0pi -e "$1" "build/fix/${2:-01-off}/chapters/01-count/count.c"; }

# nothing_left: of what was tried.
nothing_left() {
    local status
    [[ ! $(ls build/scratch) ]] || fail "in scratch: $(ls build/scratch)"
    for status in /proc/[0-9]*/status; do
        ! grep -qs $'^Name:\t01-count$' "$status" || grep -qs '^State:.Z' "$status" ||
            fail "$(<"$status")"
    done
}

# gone PID: or a zombie, for whom that is a matter of who has to wait for it.
gone() { ! grep -qs '^State:.[^Z]' "/proc/$1/status"; }

# --- What stands in a patch ---------------------------------------------------

@test "prove: a field that is missing, unknown or there twice; no diff; a wrong path" {
    bug good "$off_by_one"
    for change in '/^Seen/d|there is no .Seen.$' \
        's/^Seen:/Seen: \n  /|proven: 01-bad' 's/^Seen: .*/Seen:/|there is no .Seen.' \
        's/^Try/Tri/|4: a bug has no field .Tri.$' 's/^Try/Title/|4: a second .Title.$' \
        's/^Report: /\n&\nwhat/|4: neither' '/^--- /,$d|there is no diff below' \
        's/^Title: /&a title that is far too long to stand in the list /|48 characters' \
        's!\([ab]\)/chapters/01-count!\1/chapters/02-other!|may not change chapters/02' \
        's!\([ab]\)/chapters/01-count!\1/common/test!|may not change common/test' \
        's!\([ab]\)/chapters/01-count!\1/common/../tour!|may not change common/\.\./' \
        's!\([ab]\)/chap!x/chap!|a path in the diff begins with a/ or b/'; do
        sed "${change%|*}" "$BUGS/good.patch" >"$BUGS/bad.patch"
        run prove 01-bad
        assert_line --regexp "^(chapters/01-count/bugs/bad\.patch:.*)?${change#*|}"
    done
    rm "$BUGS/bad.patch"
    mv "$BUGS/good.patch" "$BUGS/Not plain.patch"
    run -1 prove
    assert_output --partial 'not a plain name'
}

@test "prove: a mutant of common/ needs to say where its test is" {
    mutant common/plus common/add.c 's/a \+ b/a - b/' "Fails: $the_sum" 'Shows: sum: 10'
    run -1 prove common
    assert_line "common/test/mutants/common/plus.patch: there is no 'Test'"
}

# --- prove --------------------------------------------------------------------

@test "prove: bugs and mutants that are seen, as the chapter's, common's, by name, all" {
    bug off "$off_by_one"
    mutant 01/const chapters/01-count/count.c 's/sum\(4\)/sum(4) * 2/' \
        "Fails: $the_sum" 'Shows: sum: 20'
    mutant common/plus common/add.c 's/a \+ b/a - b/' \
        'Test: chapters/01-count/test.bats' "Fails: $the_sum" 'Shows: sum: -10'
    run prove
    assert_line --regexp '^proven: 01-off \('
    assert_success
    assert_line --regexp '^proven: mutants/01/const \('
    assert_line --regexp '^proven: mutants/common/plus \('
    assert_line --regexp '^bugs and mutants: 3 proven, 0 not, 0 skipped, '
    ONLY=01 run -0 prove
    assert_line --partial '2 proven'
    run -0 prove mutants/01/const common
    assert_line --partial '2 proven'
    run -0 prove "$BUGS/off.patch"
    ONLY=02 run -0 prove
    assert_output 'prove: there is nothing to prove'
    run -2 prove 01-none
    nothing_left
    # The tree is as it was.
    rm -r build/scratch "$BUGS" "$MUTANTS"
    run -0 diff -r --no-dereference -x bugs "$MADE" "$TREE"
}

@test "prove: what is wrong with a patch is one clear line" {
    bug good "$off_by_one"
    bug unseen 's/sum: /sum: 10\\n&/'
    bug no-test "$off_by_one" 'Fails: the sum'
    bug otherwise "$off_by_one" 'Shows: sum: 11'
    bug syntax 's/i <= n/i <= /'
    bug warns 's/int total/int x, total/'
    bug same "$off_by_one" 'Try: % | grep count'
    bug no-part "$off_by_one" 'Hint: The page, "Nothing"'
    bug refused "$off_by_one" 'Fails: it takes long'
    bug stale "$off_by_one"
    sed -i 's/^ *for .int i = 1/& + 0/; s/^ .*int total = 0;$/&;/' "$BUGS/stale.patch"
    run -1 prove
    assert_line --regexp '^proven: 01-good'
    assert_line "01-unseen: '$the_sum' passes all the same"
    assert_line "01-no-test: there is no test 'the sum' in chapters/01-count/test.bats"
    assert_line --partial "01-otherwise: '$the_sum' fails without 'sum: 11': it should print"
    assert_line --regexp '^01-syntax: does not build: .*count.c:15.* error: '
    assert_line --regexp '^01-warns: the compiler gives it away: .*unused variable'
    assert_line "01-same: 'bin/01-count | grep count' prints what the right program prints"
    assert_line --regexp "^01-refused: 'it takes long' fails with the chapter's own program"
    assert_line '01-no-part: the page has no part "Nothing"'
    assert_line --regexp '^01-stale: does not apply: .*FAILED'
    assert_line --regexp '^bugs and mutants: 1 proven, 9 not, 0 skipped'
    nothing_left
}

@test "prove: what never ends or prints without end, and one that can't be told" {
    bug hangs "$endless" 'Shows: it never ends'
    bug prints 's/int total = 0;/int total = 0;\n    while (n)\n        puts("");/' \
        'Shows: it never'
    FIX_LIMIT=10 FIX_TRY_LIMIT=1 run -0 prove
    assert_line --partial '2 proven'
    nothing_left
    # Unless it is to be seen by something else.
    rm "$BUGS"/*
    bug hangs "$endless"
    FIX_LIMIT=10 FIX_TRY_LIMIT=1 run -1 prove
    assert_line --partial "01-hangs: '$the_sum' fails without 'sum: 10': it never ends"
    rm "$BUGS"/*
    bug skips "$off_by_one" 'Fails: nobody can tell'
    run -77 prove
    assert_line 'skipped: 01-skips: no such machine'
    bug good "$off_by_one"
    run -0 prove
    assert_line --partial '1 proven, 0 not, 1 skipped'
}

@test "prove: what a test misses once is tried again, and said" {
    mutant 01/now-and-then chapters/01-count/count.c \
        's|sum\(4\)|sum(4) + (remove("'"$BATS_TEST_TMPDIR"'/first") ? 10 : 0)|' \
        "Fails: $the_sum" 'Shows: sum: 20'
    touch "$BATS_TEST_TMPDIR/first"
    run -0 prove
    assert_line 'missed at first: mutants/01/now-and-then (1)'
    assert_line --partial '1 proven, 0 not'
}

@test "prove: a build that is older than common/ is refused" {
    bug good "$off_by_one"
    touch -d '1 minute' common/add.h
    run -1 prove
    assert_output 'prove: common/add.h is newer than what is built: build it first'
}

# --- within -------------------------------------------------------------------

@test "within: status, time, output, memory; and all that was started is gone" {
    local within=common/test/within
    run -3 $within 20 bash -c 'echo out; echo err >&2; exit 3'
    assert_output $'out\nerr'
    run -143 $within 20 bash -c 'kill $$'
    run -124 $within 1 bash -c 'setsid sleep 1000 & echo $! >pid; wait'
    gone "$(<pid)"
    run -0 $within 20 bash -c 'sleep 1000 >/dev/null & echo $! >pid'
    gone "$(<pid)"
    $within 20 yes >many || [[ $? == 125 ]]
    assert_equal "$(wc -c <many)" 1048576
    run $within 20 perl -e '$x = "a" x (2 << 30); print "got it"'
    refute_output --partial 'got it'
    run -127 $within 20 no-such-command
    # Whoever waits for it is told, and it takes all down with it.
    mkfifo its-pid
    $within 100 bash -c 'echo $$ >its-pid; sleep 1000' 3>&- &
    local waiter=$! ended=0 child
    read -r child <its-pid
    kill "$waiter"
    wait "$waiter" || ended=$?
    assert_equal $ended 143
    gone "$child"
}

# --- The reader's words -------------------------------------------------------

@test "the list has each bug below its chapter, with its state, in 80 columns" {
    run -1 fix fix
    assert_output 'tour: there are no bugs here'
    bug off "$off_by_one" 'Title: A title that is as long as a title can ever be'
    bug write 's/i <= n; i\+\+\)/i < n; i++)\n        errx(1, "sum() is yours to write");\n    for (;0;)/'
    bug third "$off_by_one"
    run -0 fix fix
    assert_line --index 0 '01  Counting'
    assert_line --regexp '^    01-off +A title that'
    assert_line --regexp '^    01-write +Title of write +to write$'
    refute_output --regexp $'[^\n]{81}'
    fix fix 01-off
    fix fix 01-third
    : >build/fix/01-third/.fix/fixed
    run -0 fix fix
    refute_output --regexp $'[^\n]{81}'
    assert_line --regexp '^    01-off .* in work$'
    assert_line --regexp '^    01-third .* fixed$'
}

@test "fix makes a copy, says what was reported, and keeps one that is there" {
    bug off "$off_by_one" 'Try: X=1 % --all'
    run -0 --separate-stderr fix fix 1-off
    assert_line --index 0 '01-off: Title of off'
    assert_line '    It is not as it should be.'
    assert_line 'See it:  X=1 build/fix/01-off/bin/01-count --all'
    assert_line 'Edit:    build/fix/01-off/chapters/01-count/count.c'
    assert_equal "$stderr" ''
    run -0 build/fix/01-off/bin/01-count
    assert_line 'sum: 6'
    mend 's/i < n/i < n + 7/'
    run -0 fix fix 01-off
    assert_output --partial 'The copy was there already'
    grep -q 'n + 7' build/fix/01-off/chapters/01-count/count.c
    # Called from elsewhere, it says where its paths are meant.
    cd build && run -0 ../common/test/fix fix 01-off
    assert_line "In $TREE:"
    cmp "$TREE/chapters/01-count/count.c" "$MADE/chapters/01-count/count.c"
}

@test "check: not yet, in the reporter's words; then right; and the answer" {
    bug off "$off_by_one"
    fix fix 01-off
    run -1 --separate-stderr fix check
    assert_line --index 0 '01-off: not yet.'
    assert_line 'Nothing is changed yet.'
    assert_line '    It is not as it should be.'
    assert_line '    it prints:        sum: 6'
    assert_line '    it should print:  sum: 10'
    assert_line '    it should print: sum: 10'
    assert_line '    it prints: sum: 6'
    assert_line "    $printed_sum"
    refute_output --partial 'time:'
    refute_output --partial 'bats'
    assert_equal "$stderr" ''
    # A wrong answer, and one that breaks something else.
    mend 's/i < n/i < n + 7/'
    run -1 fix check 01-off
    assert_line '    it prints:        sum: 55'
    refute_line 'Nothing is changed yet.'
    mend 's/n \+ 7/n + 1/; s/count: %d/count: %d!/'
    run -1 fix check
    assert_line --index 0 '01-off: what was reported is gone. This is wrong still:'
    assert_line '  the count is four'
    assert_line '    it is: count: 4!'
    refute_output --partial 'the source is what it was'
    run -0 fix fix
    assert_line --regexp '01-off .* in work$'
    # Right, in other words than the chapter's.
    mend 's/count: %d!/count: %d/'
    run -0 --separate-stderr fix check
    assert_line --index 0 '01-off is fixed.'
    assert_line --index 1 "The chapter's other 2 promises that were tried hold as well."
    assert_line --partial "(This machine can't tell: "
    assert_line '    +    for (int i = 1; i < n + 1; i++)'
    assert_line '    +    for (int i = 1; i <= n; i++)'
    assert_line '    the project, issue 7'
    run -0 fix fix
    assert_line --regexp '01-off .* fixed$'
    mend 's/i < n \+ 1/i <= n/'
    run -0 fix answer
    assert_line 'You wrote what the chapter has, letter by letter:'
    nothing_left
}

@test "check: does not compile, never ends, can't be told" {
    bug off "$off_by_one"
    fix fix 01-off
    mend 's/i < n/i </'
    run -1 --separate-stderr fix check
    assert_line --index 0 '01-off does not compile:'
    assert_line --partial 'build/fix/01-off/chapters/01-count/count.c:15:'
    mend 's/i </int i2; i </; s/int i2; i </i < 5/'
    mend "$endless"
    FIX_TRY_LIMIT=4 run -1 fix check
    assert_line '    (it never ends: stopped after 4 s)'
    refute_output --partial 'What the chapter promises'
    # A test that is stopped before what the reporter did.
    FIX_LIMIT=1 FIX_TRY_LIMIT=9 run -1 fix check
    assert_line '01-off: not yet.'
    assert_line '    it never ends (stopped after 1 s)'
    nothing_left
    bug skips "$off_by_one" 'Fails: nobody can tell'
    fix fix 01-skips
    run -77 fix check
    assert_line "This machine can't tell: no such machine"
}

@test "check: a test that fails for the chapter itself is not held against the reader" {
    bug off "$off_by_one"
    fix fix 01-off
    sed -i "s/'count: 4'/'count: 5'/" chapters/01-count/test.bats \
        build/fix/01-off/chapters/01-count/test.bats
    mend 's/i < n/i <= n/'
    run -0 fix check
    assert_line '01-off is fixed.'
    assert_output --regexp "This machine can.t tell: "
    bug seen 's/i <= n/i <= n + 0/'
    sed -i "s/'sum: 10'/'sum: 11'/" chapters/01-count/test.bats
    fix fix 01-seen
    run -77 fix check
    assert_line --index 0 "This machine can't tell: the chapter's own program fails this, too:"
}

@test "hint gives one after the other, the last with its part of the page" {
    bug off "$off_by_one"
    run -2 --separate-stderr fix hint
    assert_equal "$stderr" "tour: no copy is being worked on; './tour fix' lists the bugs"
    fix fix 01-off
    run -0 fix hint
    assert_output $'01-off: hint 1 of 2\n\n    look closer'
    run -0 fix hint
    assert_line --index 0 '01-off: hint 2 of 2'
    assert_line '## How it works'
    assert_line 'One by one.'
    refute_line '## End'
    run -0 fix hint
    assert_line --index 0 '01-off: all hints'
}

@test "reset makes a new copy, and keeps what was changed" {
    bug off "$off_by_one"
    fix fix 01-off
    run -0 fix reset
    assert_output '01-off is as it was in the beginning.'
    mend 's/i < n/i < n + 7/'
    fix hint
    : >build/fix/01-off/.fix/fixed
    for n in 1 2; do
        run -0 fix reset 01-off
        assert_line "What you had changed is kept in build/fix/before-reset/01-off.$n."
        grep -q 'i < n + 7' "build/fix/before-reset/01-off.$n/chapters/01-count/count.c"
        grep -q 'i < n;' build/fix/01-off/chapters/01-count/count.c
        mend 's/i < n/i < n + 7/'
    done
    run -0 fix hint
    assert_line --index 0 --partial 'hint 1 of 2'
    run -0 fix fix
    assert_line --regexp '01-off .* in work$'
}

@test "try makes an unchanged copy, then runs it; check says what it breaks" {
    run -0 fix try 1
    assert_line 'Edit:    build/fix/01/chapters/01-count/count.c'
    run -0 fix check
    assert_line 'Your copy of 01 keeps all 3 promises of the chapter that were tried.'
    mend 's/sum\(4\)/sum(5)/' 01
    run -0 --separate-stderr fix try count
    assert_line 'sum: 15'
    assert_equal "$stderr" ''
    run -0 --separate-stderr fix try 01-more 'two words' --yes
    assert_output 'more: 3 --yes'
    run -1 fix check 01
    assert_line --index 0 'The chapter promises more than your copy of 01 keeps:'
    assert_line "  $printed_sum"
    assert_line 'It keeps 2 others.'
    run -0 fix answer 01
    assert_line --regexp '^    \+.*sum\(5\)'
    run -2 fix hint 01
    run -0 fix reset
    run -0 fix try 01
    assert_line 'sum: 10'
}

@test "wrong words are said, with exit 2" {
    bug off "$off_by_one"
    for words in 'fix nothing' 'fix 01-off 2' 'check 01' 'check a b' 'hint' 'answer 01-off' \
        'reset ../..' 'try' 'try 01-none' 'try 01-off' 'fix ../01-off' 'fix 02' 'no'; do
        # shellcheck disable=SC2086 # the words
        run -2 --separate-stderr fix $words
        assert_regex "$stderr" '^tour: '
        assert_equal "$output" ''
    done
}

@test "sources that were changed: elsewhere is no matter, at the place it is said" {
    bug off "$off_by_one"
    sed -i 's/printf("count/puts(""), &/' chapters/01-count/count.c
    run -0 fix fix 01-off
    rm -r build/fix
    sed -i 's/i <= n/i <= n + 1/' chapters/01-count/count.c
    run -1 --separate-stderr fix fix 01-off
    assert_regex "$stderr" 'does not fit the sources that are here'
    [[ ! -e build/fix/01-off ]]
}

# --- Writing patches ----------------------------------------------------------

@test "save writes what was changed in a copy: a new patch, or one that keeps its fields" {
    fix try 01
    run -1 fix fix --save chapters/01-count/bugs/new.patch
    mend 's/i <= n/i < n/' 01
    run -1 fix fix --save chapters/01-count/bugs/new.patch
    assert_line --index 0 'chapters/01-count/bugs/new.patch'
    assert_line --partial "there is no 'Title'"
    grep -qx -- '+    for (int i = 1; i < n; i++)' "$BUGS/new.patch"
    bug off 's/sum: /Sum: /'
    run -0 fix fix --save chapters/01-count/bugs/off.patch 01
    run -0 prove 01-off
    run -2 fix fix --save off.patch
}

@test "refresh renews what still fits, and says what needs a hand" {
    bug off "$off_by_one"
    mutant common/plus common/add.c 's/a \+ b/a - b/' \
        'Test: chapters/01-count/test.bats' "Fails: $the_sum" 'Shows: sum: -10'
    run -0 fix fix --refresh
    assert_output ''
    # Other lines beside it, and lines above.
    sed -i 's/^    int total = 0;/    long total = 0;/; s/^#include "add.h"/&\n\n/' \
        chapters/01-count/count.c
    sed -i '1i\\n' common/add.c
    run -0 fix fix --refresh
    assert_line 'renewed: chapters/01-count/bugs/off.patch'
    assert_line 'renewed: common/test/mutants/common/plus.patch'
    grep -qx 'Report: It is not as it should be.' "$BUGS/off.patch"
    grep -qx -- '     long total = 0;' "$BUGS/off.patch"
    run -0 fix fix --refresh
    assert_output ''
    # The line itself.
    sed -i 's/i <= n/i <= (n)/' chapters/01-count/count.c
    run -1 fix fix --refresh 01-off
    assert_line --index 0 'needs a hand: chapters/01-count/bugs/off.patch'
    run -1 fix fix --save chapters/01-count/bugs/off.patch 01-off
    assert_output --partial '<<<<<<<'
    perl -0pi -e 's/<<<<<<<.*?=======\n(.*?)>>>>>>>[^\n]*\n/$1/s; s/i < n/i < (n)/' \
        build/fix/01-off/chapters/01-count/count.c
    run -0 fix fix --save chapters/01-count/bugs/off.patch 01-off
    run -0 fix fix --refresh
    assert_output ''
    grep -qx -- '+    for (int i = 1; i < (n); i++)' "$BUGS/off.patch"
}
