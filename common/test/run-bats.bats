#!/usr/bin/env bats
#
# run-bats tells CTest what became of a file of tests. If it got that wrong, a
# failure or a skip could pass for a success, and no other test would notice.

load helpers

# ends_as STATUS [# COMMENT | NAME:BODY]...: run-bats on a file of these tests, with
# what is in $deep for DEEP. Not with the variables of the bats that runs us, nor its
# folder of parts, where there is a "bats" of another kind.
ends_as() {
    local some=$BATS_TEST_TMPDIR/some.bats outside=${PATH#"${BATS_LIBEXEC-}:"} test
    echo "${first-}" >"$some"
    for test in "${@:2}"; do
        if [[ $test == '#'* ]]; then
            echo "$test"
        else
            printf '@test "%s" { %s\n}\n' "${test%%:*}" "${test#*:}"
        fi
    done >>"$some"
    run "-$1" env -i PATH="${where:-$outside}" BUILD="$BATS_TEST_TMPDIR" \
        DEEP="${deep-}" \
        "$ROOT/common/test/run-bats" "$some"
}

@test "tests that pass are a success" {
    ends_as 0 fine:true
    assert_line 'ok 1 fine'
    refute_output --partial 'skipped: '
}

@test "one that fails is a failure, and its output is there" {
    ends_as 1 fine:true 'bad:echo what is bad; false' absent:skip
    assert_line '# what is bad'
}

@test "the command that failed is told, with the helpers too" {
    first="load '$ROOT/common/test/helpers'"
    ends_as 1 $'bad:\n    run true\n    [[ 1 == 2 ]]\n    true'
    assert_line "#   \`[[ 1 == 2 ]]' failed"
}

@test "where all are skipped so is the file, with the reasons" {
    ends_as 77 'one:skip "no such thing"' 'two:skip "nor such"'
    assert_line 'skipped: one: no such thing'
    assert_line 'skipped: two: nor such'
}

# bats test_tags=deep
@test "where some are skipped the others count, and the reasons are told" {
    ends_as 0 'one:skip "no such thing"' 'two:echo "# skipped: part of it" >&3'
    assert_line 'skipped: one: no such thing'
    assert_line 'skipped: part of it'
}

# bats test_tags=deep
@test "DEEP decides which tests run: the quick ones, all, or only the deep ones" {
    tests=('# bats test_tags=deep' long:true
        '# bats test_tags=other, deeper' more:true quick:true)
    deep='' ends_as 0 "${tests[@]}"
    assert_output $'1..2\nok 1 more\nok 2 quick'
    deep=1 ends_as 0 "${tests[@]}"
    assert_output $'1..3\nok 1 long\nok 2 more\nok 3 quick'
    deep=only ends_as 0 "${tests[@]}"
    assert_output $'1..2\nok 1 long\nok 2 more'
}

# bats test_tags=deep
@test "DEEP=only: a file without a deep test is no failure and no skip" {
    deep=only
    ends_as 0 quick:false
    assert_output 'run-bats: nothing in some.bats takes long'
    ends_as 0 '# bats test_tags=deepest' quick:false
    # A deep test that fails, or is skipped, is told as ever.
    ends_as 1 '# bats file_tags=slow,deep' long:false
    ends_as 77 '# bats file_tags=deep' long:skip
}

# bats test_tags=deep
@test "a signal that the caller ignores is not ignored in a test" {
    # shellcheck disable=SC2016 # the shell in the test is to expand it
    test='dies:for s in HUP INT QUIT PIPE TERM; do
        sh -c "kill -$s \$\$" && return 1; done; true'
    (trap '' HUP INT QUIT PIPE TERM && ends_as 0 "$test")
}

# bats test_tags=deep
@test "a file without a test, or with an error in it, is a failure" {
    ends_as 1
    assert_output --partial 'there is no test in'
    ends_as 1 'half:if'
    first=no-such-command ends_as 1 fine:true
}

# bats test_tags=deep
@test "without bats the tests are skipped" {
    where=$BATS_TEST_TMPDIR/bin
    mkdir "$where"
    for tool in bash dirname basename mkdir env; do
        ln -s "$(command -v "$tool")" "$where"
    done
    ends_as 77 fine:true
    assert_output 'skipped: some.bats: bats is not installed'
}

# A part of a clone, moved to where a careless test would split its path, or take it for
# a pattern or a variable. (CMake itself fails below a folder with a double quote or a
# backslash in its name, and tests read line by line.)
# bats test_tags=deep
@test "the tests of 01 and 08 pass in a folder with blank, quote, dollar and accent" {
    odd="$BATS_TEST_TMPDIR/a b'\$é [1]/-c"
    mkdir -p "$odd/build"
    cp -r "$ROOT/common" "$ROOT/chapters" "$odd"
    cp -r "$BUILD"/{bin,CMakeCache.txt,lib*.so} "$odd/build"
    for chapter in 01-blocking-read 08-io-submit; do
        run env -u ROOT -u BIN -u DEEP BUILD="$odd/build" TMPDIR="$odd/build/scratch" \
            PATH="${PATH#"${BATS_LIBEXEC-}:"}" "$odd/common/test/run-bats" \
            "$odd/chapters/$chapter/test.bats"
        [[ $status == 0 || $status == 77 ]] || fail "$chapter: $output"
    done
}

# bats test_tags=deep
@test "wrong usage exits 2" {
    run -2 "$ROOT/common/test/run-bats"
}

# bats test_tags=deep
@test "on-file-systems: passed, failed, wrong usage, interrupted; and nothing is left" {
    unshare -m true || skip 'this user may not mount, or not here'
    export TMPDIR=$BATS_TEST_TMPDIR/mounts
    mkdir "$TMPDIR"
    run -2 "$ROOT/common/test/on-file-systems" ntfs
    run -1 "$ROOT/common/test/on-file-systems" tmpfs -- false
    assert_line --index 0 'tmpfs: failed, with status 1:'
    run -0 "$ROOT/common/test/on-file-systems" tmpfs -- \
        bash -c '[[ $(stat -f -c %T .) == tmpfs && -x build/bin/01-blocking-read ]]'
    assert_output 'tmpfs: passed'
    # Ctrl-C, while the command runs.
    run -130 timeout --preserve-status --foreground --signal=INT 10 \
        "$ROOT/common/test/on-file-systems" ext4 -- sleep 100
    assert_equal "$(ls -A "$TMPDIR")" ''
    run -1 grep -F "$TMPDIR" /proc/mounts
    run -1 grep -F "$TMPDIR" <(losetup -a)
}
