#!/usr/bin/env bats
#
# docs/adding-a-chapter.md, followed to the letter, gives a chapter that passes; and a
# program without --check, put in its place, one that does not.

load helpers

setup_file() {
    export TREE=$BATS_FILE_TMPDIR/tree
    mkdir "$TREE"
    cp -r "$ROOT"/{chapters,common,docs,CMakeLists.txt,CMakePresets.json,LICENSE} \
        "$ROOT"/{README.md,tour} "$TREE"
    cd "$TREE" || return
    # Just these are built: the others are tested as they are.
    sed -i '/^chapter([0-9]/{/(00-\|(01-\|(20-/!d}' CMakeLists.txt
    mapfile -t steps < <(awk '/^```sh/ { on = 1; next } /^```/ { on = 0 } on' \
        docs/adding-a-chapter.md)
    printf '%s\n' "${steps[@]}" >"$BATS_FILE_TMPDIR/steps"
}

# step WORD: run the command of the page that begins so. It has a tree of its own.
step() {
    cd "$TREE" || return
    run env -u ROOT -u BUILD -u BIN -u TMPDIR -u ONLY -u DEEP \
        bash -c "$(grep "^$1" "$BATS_FILE_TMPDIR/steps")"
}

@test "the page's commands make a chapter that runs and passes its tests" {
    step cp
    assert_success
    step sed
    assert_success
    step './tour 90'
    assert_success
    assert_line 'calls: 16'
    step './tour test 90'
    assert_success
    assert_output --regexp '90-first-byte .* Passed'
    assert_output --regexp 'contract .* Passed'
    step 'ONLY=90 .*texts.bats'
    assert_success
}

@test "without --check the contract is broken, and says so" {
    sed -i "/^    struct job \*job = /i if (argc == 2 && argv[1][2] == 'c') return 3;" \
        "$TREE/chapters/90-first-byte/first-byte.c"
    step './tour test 90'
    assert_failure
    assert_output --partial '90-first-byte --check: status 3'
}
