#!/usr/bin/env bats
#
# The gate's own rules: a skip that is not in the list is a failure, and so are more
# than 75 minutes.

load helpers

# finds STATUS LINE...: check-skips on a log of these lines.
finds() {
    printf '%s\n' "${@:2}" >"$BATS_TEST_TMPDIR/log"
    run "-$1" env ALLOWED="$BATS_TEST_TMPDIR/allowed" \
        "$ROOT/common/test/check-skips" "$BATS_TEST_TMPDIR/log"
}

setup() {
    cat >"$BATS_TEST_TMPDIR/allowed" <<'END'
# Why a comment needs no match: it says why.

[0-9]+ one: no such (thing|place)
# indented
    # too
END
}

@test "a skip that is in the list is accepted, and so is a log without any" {
    finds 0 'ok 1 one # skip no such thing' '' 'skipped: 1 one: no such thing' \
        'skipped: 1 one: no such place'
    assert_output ''
    finds 0 'ok 1 one'
    assert_output ''
}

@test "one that is not in the list is told, and no other" {
    finds 1 'skipped: 1 one: no such thing' 'skipped: 2 two: away'
    assert_output 'skipped, and not in skips-allowed: 2 two: away'
    # Not even a part of it, nor what a comment or an empty line would match.
    finds 1 'skipped: 1 one: no such thing at all'
    finds 1 'skipped: the 1 one: no such thing'
    finds 1 'skipped: # indented'
    finds 1 'skipped: '
}

@test "an empty list accepts nothing" {
    echo '# nothing' >"$BATS_TEST_TMPDIR/allowed"
    finds 1 'skipped: 1 one: no such thing'
}

@test "a log that is missing, a wrong expression, no argument: it can't tell" {
    run -2 "$ROOT/common/test/check-skips"
    run -2 "$ROOT/common/test/check-skips" "$BATS_TEST_TMPDIR/no-log"
    echo '(' >>"$BATS_TEST_TMPDIR/allowed"
    finds 2 'skipped: 1 one: no such thing'
}

@test "what run-bats skips is found in the log that CTest keeps, whole files too" {
    mkdir "$BATS_TEST_TMPDIR/tree"
    cd "$BATS_TEST_TMPDIR/tree"
    cat >CMakeLists.txt <<'END'
cmake_minimum_required(VERSION 3.22)
project(skips LANGUAGES NONE)
enable_testing()
foreach(name part whole)
  add_test(NAME ${name} COMMAND $ENV{ROOT}/common/test/run-bats
                                ${CMAKE_SOURCE_DIR}/${name}.bats)
endforeach()
set_tests_properties(part whole PROPERTIES SKIP_RETURN_CODE 77)
END
    printf '@test "%s" { %s\n}\n' '1 one' 'skip "no such place"' two true >part.bats
    printf '@test "%s" { %s\n}\n' all 'skip "it is away"' >whole.bats
    cmake -B build . >/dev/null
    run -0 env PATH="${PATH#"${BATS_LIBEXEC-}:"}" ctest --test-dir build
    log=build/Testing/Temporary/LastTest.log
    run -1 env ALLOWED="$BATS_TEST_TMPDIR/allowed" "$ROOT/common/test/check-skips" $log
    assert_output "skipped, and not in skips-allowed: all: it is away"
}

# gate COMMAND: the gate in a tree where the tour is this command.
gate() {
    mkdir -p "$BATS_TEST_TMPDIR/gate/.ci"
    cp "$ROOT/.ci/run" "$BATS_TEST_TMPDIR/gate/.ci"
    printf '#!/usr/bin/env bash\n%s\n' "$1" >"$BATS_TEST_TMPDIR/gate/tour"
    chmod +x "$BATS_TEST_TMPDIR/gate/tour"
    # Nothing is to be installed for this.
    mkdir -p "$BATS_TEST_TMPDIR/bin"
    for tool in apt-get mkfs.ext4 mkfs.xfs mkfs.btrfs; do
        ln -sf "$(command -v false)" "$BATS_TEST_TMPDIR/bin/$tool"
    done
    run env GATE_MINUTES=0.03 PATH="$BATS_TEST_TMPDIR/bin:$PATH" \
        "$BATS_TEST_TMPDIR/gate/.ci/run"
}

@test "the gate ends when its minutes are over, and says in which step" {
    gate 'echo begun; sleep 100'
    assert_equal "$status" 124
    assert_line begun
    assert_output --partial 'The gate took more than 0.03 minutes. It ended in this step:
The tests, by the command in the README'
}

@test "the gate ends with a step that fails" {
    gate 'exit 3'
    assert_equal "$status" 3
    refute_output --partial 'minutes'
}
