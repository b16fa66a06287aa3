#!/usr/bin/env bats
#
# The texts say what the programs do: what they quote stands in the source, what
# they show is printed, where they point to something is there. The questions
# themselves are asked by texts.pl, and the tests at the end show that it finds
# what is wrong.
#
# To run the console blocks takes the shared sample file, since the texts show
# what it gives. So nobody else who runs at the same time may use that one.

load helpers

texts=$ROOT/common/test/texts.pl

# asks CHECK ARGUMENTS: note what texts.pl finds.
asks() {
    local found status=0
    found=$("$texts" "$@") || status=$?
    grep '^skipped: ' <<<"$found" | sed 's/^/# /' >&3 || :
    ((status == 0)) || problem "${found:-texts.pl $1: status $status}"
}

# chapters: their folders.
# shellcheck disable=SC2086 # a pattern it shall be
chapters() { printf '%s\n' "$ROOT"/chapters/${ONLY:-[0-9][0-9]}-*; }

# all_texts: every Markdown file, but for what a build tree holds, and for the page
# that is to be copied: skeleton.bats asks about the copy.
all_texts() {
    find "$ROOT" \( -name build -o -name .git -o -name skeleton \) -prune -o \
        -path "*/${ONLY:+chapters/$ONLY-}*" -name '*.md' -print
}

# source_of FOLDER: the chapter's program.
source_of() {
    local name=${1##*/}
    echo "$1/${name#[0-9][0-9]-}.c"
}

# stage: a folder that looks like the repository's, to run the commands of the
# texts in. What says build/ there is the tree that is tested, and `./tour 01`
# runs the chapter without a build before it.
stage() {
    STAGE=$BATS_TEST_TMPDIR/stage
    mkdir "$STAGE"
    ln -s "$ROOT"/* "$STAGE"
    rm -f "$STAGE"/build "$STAGE/tour"
    ln -s "$BUILD" "$STAGE/build"
    cp "$ROOT/tour" "$STAGE/.tour"
    cat >"$STAGE/tour" <<'END'
#!/usr/bin/env bash
case $1 in
    list | read | diff | help) exec ./.tour "$@" ;;
esac
program=build/bin/$1
for chapter in chapters/[0-9][0-9]-*; do
    name=${chapter##*/}
    [[ $1 != "${name%%-*}" && 0$1 != "${name%%-*}" && $1 != "${name#*-}" ]] ||
        program=build/bin/$name
done
if [[ -x $program ]]; then
    shift
    exec "$program" "$@"
fi
echo "tests can't run: ./tour $*" >&2
exit 2
END
    chmod +x "$STAGE/tour"
}

@test "a chapter's text has its title and the seven parts" {
    for folder in $(chapters); do
        asks parts "$folder/README.md" "$(source_of "$folder")"
    done
    no_problems
}

@test "every c block stands word for word in a source of its chapter" {
    for folder in $(chapters); do
        sources=("$folder"/*.[ch])
        # 10 explains what it shares with 17.
        [[ $folder != */10-* ]] || sources+=("$ROOT"/common/server/*.[ch])
        asks code "$folder/README.md" "${sources[@]}"
    done
    no_problems
}

@test "every console block prints what the text shows" {
    stage
    cd "$STAGE"
    for text in $(all_texts); do
        asks console "$text"
    done
    no_problems
}

@test "every relative link leads somewhere" {
    mapfile -t all < <(all_texts)
    asks links "$ROOT" "${all[@]}"
    no_problems
}

@test "the glossary is in the order of the alphabet, and has each word once" {
    words=$(sed -n 's/^- \*\*\([^*]*\)\*\*: .*/\1/p' "$ROOT/docs/glossary.md")
    assert_equal "$(sort -dfu <<<"$words")" "$words"
    assert_equal "$(grep -c '^- ' "$ROOT/docs/glossary.md")" "$(wc -l <<<"$words")"
}

@test "the front page's table has every chapter, in order, with its title" {
    folders=("$ROOT"/chapters/[0-9][0-9]-*)
    asks table "$ROOT/README.md" "${folders[@]}"
    no_problems
}

# bats test_tags=deep
@test "the cc line at the top of each program builds it" {
    mkdir "$BATS_TEST_TMPDIR/copy"
    cp -r "$ROOT/common" "$ROOT/chapters" "$BATS_TEST_TMPDIR/copy"
    cd "$BATS_TEST_TMPDIR/copy"
    remember_objects
    for source in chapters/*/*.c; do
        [[ ${source#chapters/} == ${ONLY:-[0-9][0-9]}-* ]] || continue
        grep -q '^int main(' "$source" || continue
        [[ $source != */libuv.c ]] || pkg-config --exists libuv || continue
        builds_by_hand "$source"
    done
    no_problems
}

# remember_objects: from now on cc compiles what is in common/ once, and not for each
# program anew. The flags are the same for all.
remember_objects() {
    CC=$(command -v cc)
    export CC PATH=$BATS_TEST_TMPDIR/bin:$PATH
    mkdir "$BATS_TEST_TMPDIR/bin"
    cat >"$BATS_TEST_TMPDIR/bin/cc" <<'END'
#!/usr/bin/env bash
for word; do
    if [[ $word == common/*.c && "$1 $2" == '-D_FILE_OFFSET_BITS=64 -Icommon' ]]; then
        [[ -e $word.o ]] || "$CC" "$1" "$2" -c "$word" -o "$word.o" || exit
        word+=.o
    fi
    words+=("$word")
done
exec "$CC" "${words[@]}"
END
    chmod +x "$BATS_TEST_TMPDIR/bin/cc"
}

# builds_by_hand SOURCE: run what it says behind "Build:" in its first comment.
builds_by_hand() {
    local command name='' output
    command=$(awk '
        /^ \* Build: cc / { on = 1; sub(/Build: /, "") }
        on { sub(/^ \* */, ""); print }
        on && !/\\$/ { exit }
        /\*\// { exit }' "$1")
    name=$(grep -o -- '-o [^ ]*' <<<"$command") && name=${name#-o }
    if [[ ! $command || ! $name ]]; then
        problem "$1: no line ' * Build: cc ... -o NAME' at its top"
        return
    fi
    output=$(bash -c "$command" 2>&1) || output+=" (status $?)"
    [[ ! $output ]] || problem "$1: '$command' says: $output"
    output=$("./$name" --help 2>&1 | head -n 1) || :
    [[ $output == "usage: $name"* ]] ||
        problem "$1: './$name --help' says: $output"
}

# --- The checks above can fail ----------------------------------------------------

# good_chapter: a chapter in which all is right.
good_chapter() {
    CHAPTER=$BATS_TEST_TMPDIR/chapters/07-fine
    mkdir -p "$CHAPTER"
    cat >"$CHAPTER/fine.c" <<'END'
/*
 * 07 · The fine one
 *
 * Build: cc chapters/07-fine/fine.c \
 *           -o 07-fine
 */
#include <stdio.h>

int main(void)
{
    puts("usage: 07-fine");
    return 0;
}
END
    cat >"$CHAPTER/README.md" <<'END'
# 07 · The `fine` one

Is it?

## Run it

```console
$ echo 'block 0   ███'; echo 'total: 0.81 ms' \
    | sed 's/8/9/'
block 0   █
total: 12.5 ms
$ printf '%s\n' one two three 'checksum: 745d3bcd'
one
...
checksum: 745d3bcd
```

## How it works

```c
    puts("usage: 07-fine");
    return 0;
```

## What to notice

1. Something, as in [the question](#07--the-fine-one).

## Where people trip

Over [a link](fine.c).

## Try it

Yes.

## Going on

[Here][1].

[1]: ../07-fine/README.md#run-it
END
    cat >"$BATS_TEST_TMPDIR/README.md" <<'END'
| chapter | shows |
|---|---|
| [07](chapters/07-fine/README.md) | The fine one |
END
}

# spoil OLD NEW [FILE]: write the good chapter anew, with one thing changed.
spoil() {
    good_chapter
    local file=${3:-$CHAPTER/README.md} text
    text=$(<"$file")
    [[ $text == *"$1"* ]]
    printf '%s\n' "${text/"$1"/"$2"}" >"$file"
}

# finds MESSAGE CHECK [ARGUMENTS]
finds() {
    run -1 "$texts" "${@:2}"
    assert_output --partial "$1"
}

# bats test_tags=deep
@test "a good chapter passes" {
    good_chapter
    cd "$BATS_TEST_TMPDIR"
    asks parts "$CHAPTER/README.md" "$CHAPTER/fine.c"
    asks code "$CHAPTER/README.md" "$CHAPTER/fine.c"
    asks console "$CHAPTER/README.md"
    asks links "$BATS_TEST_TMPDIR" README.md "$CHAPTER/README.md"
    asks table README.md "$CHAPTER"
    builds_by_hand "$CHAPTER/fine.c"
    no_problems
}

# bats test_tags=deep
@test "a wrong title, and a part that is missing or misnamed, are found" {
    good_chapter
    parts=(parts "$CHAPTER/README.md" "$CHAPTER/fine.c")
    spoil '# 07 · The' '# 07 · A'
    finds 'fine.c:2: the title is not 07 · The fine one' "${parts[@]}"
    spoil '# 07 ·' '# 08 ·'
    finds "README.md:1: the title is not '# 07 · ...'" "${parts[@]}"
    spoil '## Try it' '## Try this'
    finds "README.md:33: part 6 is to be '## Try it', not 'Try this'" "${parts[@]}"
    spoil '## Going on' 'Going on'
    finds "part 7 is to be '## Going on', and is missing" "${parts[@]}"
    spoil 'Yes.' ''
    finds "nothing is said in 'Try it'" "${parts[@]}"
    spoil 'Is it?' ''
    finds "nothing is said in 'the question'" "${parts[@]}"
    spoil '```c
' '```C
'
    finds "README.md:20: a block of 'C'" "${parts[@]}"
    finds 'has no c block' "${parts[@]}"
}

# bats test_tags=deep
@test "a part, an aside, a question or an answer of another form is found" {
    good_chapter
    parts=(parts "$CHAPTER/README.md" "$CHAPTER/fine.c")
    local answer=$'<details><summary>Answer</summary>\n\n  Six.\n\n  </details>'
    spoil '## Try it' $'## When this does not help\n\nNever.\n\n## Try it'
    run -0 "$texts" "${parts[@]}"
    spoil '## Run it' $'## When this does not help\n\nNever.\n\n## Run it'
    finds "is to stand after 'Where people trip'" "${parts[@]}"
    spoil '## Try it' $'## When this does not help\n\n## Try it'
    finds "nothing is said in 'When this" "${parts[@]}"

    spoil 'Yes.' '> **Aside.** No.'
    run -0 "$texts" "${parts[@]}"
    spoil 'Yes.' '> No.'
    finds "README.md:35: a quote block begins with" "${parts[@]}"

    spoil 'Is it?' $'Is it?\n\n**Predict.** How many? And when?'
    run -0 "$texts" "${parts[@]}"
    spoil 'Is it?' '**Predict.** It is.'
    finds 'Predict asks 0 questions' "${parts[@]}"
    spoil 'Yes.' $'**Predict.** Is it?\n\n- Yes.'
    finds 'Predict belongs to the first part' "${parts[@]}"

    spoil 'Yes.' "- Change it. How many?

  $answer"
    sed -i 's/^Is it?/**Predict.** Is it?/' "$CHAPTER/README.md"
    run -0 "$texts" "${parts[@]}"
    sed -i '/<details>/,$d' "$CHAPTER/README.md"
    printf '%s\n' '## Going on' '' Here. >>"$CHAPTER/README.md"
    finds 'this asks, and has no folded answer' "${parts[@]}"
    spoil 'Yes.' "Yes. ${answer/$'\n\n'/$'\n'}"
    finds 'an answer begins with a line' "${parts[@]}"
    spoil 'Yes.' "${answer%%$'\n\n  <'*}"
    finds 'this answer has no end' "${parts[@]}"
}

# bats test_tags=deep
@test "a c block that differs from the source is found" {
    spoil 'return 0' 'return 1'
    finds 'README.md:22: stands in no source of the chapter:     return 1;' \
        code "$CHAPTER/README.md" "$CHAPTER/fine.c"
    # Both lines stand in the source, but not one below the other.
    spoil '    puts("usage: 07-fine");
' '{
'
    finds 'README.md:22: stands in no source' \
        code "$CHAPTER/README.md" "$CHAPTER/fine.c"
}

# bats test_tags=deep
@test "a console block that the programs contradict is found" {
    spoil '745d3bcd
```' '745d3bce
```'
    finds "README.md:12: 'printf" console "$CHAPTER/README.md"
    spoil 'block 0   █
' 'block 1   █
'
    finds "README.md:8: 'echo" console "$CHAPTER/README.md"
    spoil '...
' ''
    finds 'checksum: 745d3bcd' console "$CHAPTER/README.md"
    spoil "printf '%s\\n'" 'no-such-command'
    finds 'status 127' console "$CHAPTER/README.md"
    spoil "printf '%s\\n'" 'kill $$;'
    finds 'status 143' console "$CHAPTER/README.md"
    # Eight of eight is one claim, fewer another.
    spoil "printf '%s\\n' one" \
        "echo 'completed: 8 in submit, 0 in wait, 0 at work, 0 between';"
    sed -i '/^one/s/.*/completed: 0 in submit, 8 in wait, 0 at work, 0 between/' \
        "$CHAPTER/README.md"
    finds 'completed: all 8 in submit' console "$CHAPTER/README.md"
}

# bats test_tags=deep
@test "what this machine can't show is skipped, and says why" {
    spoil "printf '%s\\n'" "echo 'fine: no such thing here'; exit 77;"
    run -0 "$texts" console "$CHAPTER/README.md"
    assert_output --regexp '^skipped: .*README.md:12: fine: no such thing here$'
}

# bats test_tags=deep
@test "what 00 prints is compared, unless this machine lacks something" {
    mkdir "$BATS_TEST_TMPDIR/00-report"
    report=$BATS_TEST_TMPDIR/00-report/README.md
    cd "$BATS_TEST_TMPDIR"
    printf '```console\n$ ./tour 00\nall\n```\n' >"$report"
    printf '#!/bin/sh\necho some\n' >tour
    chmod +x tour
    finds "'./tour 00'" console "$report"
    echo 'echo "missing: all of it"' >>tour
    run -0 "$texts" console "$report"
    assert_output --partial 'this machine is another one: missing: all of it'
}

# bats test_tags=deep
@test "a dead link is found" {
    spoil 'fine.c)' 'find.c)'
    finds "README.md:31: the link to 'find.c' is dead" \
        links "$BATS_TEST_TMPDIR" "$CHAPTER/README.md"
    spoil '#07--the-fine-one' '#the-fine-one'
    finds "README.md:27: '#the-fine-one': no such heading" \
        links "$BATS_TEST_TMPDIR" "$CHAPTER/README.md"
    spoil '#run-it' '#run'
    finds "'../07-fine/README.md#run': no such heading" \
        links "$BATS_TEST_TMPDIR" "$CHAPTER/README.md"
    spoil 'fine.c)' '../../../../../../../etc/passwd)'
    finds 'is dead' links "$BATS_TEST_TMPDIR" "$CHAPTER/README.md"
}

# bats test_tags=deep
@test "a table that differs from the folders is found" {
    cd "$BATS_TEST_TMPDIR"
    spoil 'The fine one |' 'Another one |' README.md
    finds "README.md:3: 07-fine is titled 'The fine one'" table README.md "$CHAPTER"
    spoil '[07](chapters/07-fine/README.md)' '07' README.md
    finds 'no row with a link to 07-fine' table README.md "$CHAPTER"
    good_chapter
    echo '| [08](chapters/08-gone/README.md) | Gone |' >>README.md
    finds 'README.md:4: there is no chapter 08-gone' table README.md "$CHAPTER"
}

# bats test_tags=deep
@test "a cc line that does not build is found" {
    cd "$BATS_TEST_TMPDIR"
    good_chapter
    spoil 'chapters/07-fine/fine.c' 'chapters/07-fine/find.c' "$CHAPTER/fine.c"
    builds_by_hand "$CHAPTER/fine.c"
    spoil 'Build: cc' 'Build it: cc' "$CHAPTER/fine.c"
    builds_by_hand "$CHAPTER/fine.c"
    run no_problems
    assert_failure
    assert_output --partial 'find.c'
    assert_output --partial "no line ' * Build: cc"
}
