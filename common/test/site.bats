#!/usr/bin/env bats
#
# The site shows what the pages say: each page is there with all its headings,
# nothing of Markdown or Doxygen is left over in the text, links lead somewhere.
# Doxygen gives up a page that it does not understand without a warning, so only
# the HTML tells. It is made anew here: what ./tour docs has left may be old. The
# questions themselves are asked by site.pl, and the tests at the end show that
# it finds what is wrong.

load helpers

THEME=/usr/share/doxygen-awesome-css
reader=$ROOT/common/test/site.pl

# What of all this is missing here? Then there is no site to look at.
missing() {
    if ! command -v doxygen >/dev/null; then
        echo 'doxygen is not installed'
    elif [[ ! -r $THEME/doxygen-awesome.css ]]; then
        echo 'doxygen-awesome-css is not installed'
    fi
}

# site_of FOLDER OUTPUT: make it as ./tour docs does, without a word.
site_of() {
    local said status=0
    mkdir "$2"
    said=$(DOCS_OUTPUT=$2 DOCS_THEME=$THEME "$1/docs/make-site" 2>&1) || status=$?
    echo "$said"
    [[ ! $said && $status == 0 ]]
}

setup_file() {
    [[ ! $(missing) ]] || return 0
    site_of "$ROOT" "$BATS_FILE_TMPDIR/site"
    fine_book "$BATS_FILE_TMPDIR/book"
    site_of "$BATS_FILE_TMPDIR/book" "$BATS_FILE_TMPDIR/fine"
}

setup() {
    [[ ! $(missing) ]] || skip "$(missing)"
    SITE=$BATS_FILE_TMPDIR/site/html
}

# asks CHECK ARGUMENTS: note what site.pl finds.
asks() {
    local found status=0
    found=$("$reader" "$@") || status=$?
    ((status == 0)) || problem "${found:-site.pl $1: status $status}"
}

# lists: the scripts that are data. They hold links too.
lists() {
    find "$SITE" -name '*.js' ! -name search.js ! -name jquery.js
}

@test "every page is on the site, with all its headings" {
    asks headings "$SITE" "$ROOT"/README.md "$ROOT"/chapters/*/README.md \
        "$ROOT"/docs/*.md
    no_problems
}

@test "nothing of Markdown or Doxygen is left over in the text" {
    asks text "$SITE"/*.html
    no_problems
}

@test "every link of the site leads somewhere" {
    mapfile -t scripts < <(lists)
    asks links "$SITE" "$SITE"/*.html "${scripts[@]}"
    no_problems
}

@test "no page names a folder of the machine that made it" {
    mapfile -t files < <(find "$SITE" -name '*.html' -o -name '*.js' \
        -o -name '*.svg' -o -name '*.css')
    asks paths "$ROOT" "${files[@]}"
    asks paths "$BATS_FILE_TMPDIR" "${files[@]}"
    no_problems
}

# --- A page can be written as Markdown allows ---------------------------------------

# fine_book FOLDER: a book of one chapter, which has all that Doxygen would
# stumble over without its filter.
fine_book() {
    mkdir -p "$1/chapters/07-fine" "$1/common"
    cp -r "$ROOT/docs" "$1"
    rm -r "$1"/docs/*.md "$1/docs/skeleton" # Pages of another book.
    cp "$ROOT/common/args.h" "$1/common"
    cp "$ROOT/LICENSE" "$1"
    echo 'HTML_EXTRA_FILES = LICENSE' >>"$1/docs/Doxyfile"
    cat >"$1/README.md" <<'END_OF_PAGE'
# In Circles

See [chapter
07](chapters/07-fine/README.md) and the [license](LICENSE).

| Chapter | Shows |
| --- | --- |
| [07 · The fine one](chapters/07-fine/README.md) | all of it |

![Two rings](docs/rings.svg)
END_OF_PAGE
    cat >"$1/chapters/07-fine/README.md" <<'END_OF_PAGE'
# 07 · The `fine` one

Is it?

## Run it

```console
$ echo '*one*, **two**, [three](four), #include <stdio.h>'
*one*, **two**, [three](four), #include <stdio.h>
```

## How it works

With `int *p, *q, a[2](0)`, `<sys/uio.h>`, ``a ` b`` and ```` ```c *x* <y> ````, ([the
front `page
of` all](../../README.md)). A [picture
elsewhere](https://example.org/x.svg).

### Its `small` part

It works.

## What to notice

- **`sleeps: 0`.** It starts.
- *`EIO`, and "nothing" else.* It ends.
- *"Success".* It is a **strong** and an *odd* one, (**so `it` is**).

![Two
rings](../../docs/rings.svg)

## Where people trip

Over [`the license`](../../LICENSE).

## Try it

It hangs.

## Going on

[Here
again](../07-fine/README.md), at <https://example.org/>.
END_OF_PAGE
}

@test "the pages reach Doxygen in a Markdown that it understands" {
    cd "$BATS_FILE_TMPDIR/book"
    run -0 docs/filter.pl chapters/07-fine/README.md
    assert_line '# 07 · The fine one'
    assert_line "\$ echo '*one*, **two**, [three](four), #include <stdio.h>'"
    assert_line '*one*, **two**, [three](four), #include <stdio.h>'
    assert_line 'With `int *p, *q, a[2](0)`, `<sys/uio.h>`, ``a ` b`` and <code>\`\`\`c \*x\* &lt;y&gt;</code>, ([the front page of all](../../README.md)). A [picture elsewhere](https://example.org/x.svg).'
    assert_line '- <b>`sleeps: 0`.</b> It starts.'
    assert_line '- <em>`EIO`, and "nothing" else.</em> It ends.'
    assert_line '- <em>"Success".</em> It is a <b>strong</b> and an <em>odd</em> one, (<b>so `it` is</b>).'
    assert_line '![Two rings](rings.svg)'
    assert_line 'Over <a href="LICENSE">`the license`</a>.'
    assert_line '[Here again](../07-fine/README.md), at <https://example.org/>.'
    # What comes behind keeps its line, for Doxygen's warnings.
    assert_equal "$(grep -n '^##' <<<"$output")" \
        "$(grep -n '^##' chapters/07-fine/README.md)"
    run -0 docs/filter.pl README.md
    assert_line '| [07 · The fine one](chapters/07-fine/README.md) | all of it |'
}

# --- The checks above can fail ------------------------------------------------------

# fine_site: a site in which all is right, in $SITE. Its chapter is $PAGE.
fine_site() {
    SITE=$BATS_TEST_TMPDIR/site
    rm -rf "$SITE"
    cp -r "$BATS_FILE_TMPDIR/fine/html" "$SITE"
    PAGE=$(grep -l 'It hangs' "$SITE"/*.html)
    MARKDOWN=$BATS_FILE_TMPDIR/book/chapters/07-fine/README.md
}

# spoil OLD NEW [FILE]: a fine site with one thing changed, wherever it stands.
spoil() {
    fine_site
    local file=${3:-$PAGE} text
    text=$(<"$file")
    [[ $text == *"$1"* ]]
    printf '%s\n' "${text//"$1"/"$2"}" >"$file"
}

# finds MESSAGE CHECK [ARGUMENTS]
finds() {
    run -1 "$reader" "${@:2}"
    assert_output --partial "$1"
}

@test "a fine site passes" {
    fine_site
    mapfile -t scripts < <(lists)
    asks headings "$SITE" "$MARKDOWN" "$BATS_FILE_TMPDIR/book/README.md"
    asks text "$SITE"/*.html
    asks links "$SITE" "$SITE"/*.html "${scripts[@]}"
    asks paths "$ROOT" "$SITE"/*.html "${scripts[@]}"
    no_problems
    # The links are links. (Code is <code>, or <span class="tt">.)
    for text in 'front page of all</a>' '<[^>]*>the license</' 'Here again</a>'; do
        grep -q "<a [^>]*>[^<]*$text" "$PAGE" || problem "no link: $text"
    done
    grep -q '<em><[^>]*>EIO</' "$PAGE" || problem 'no <em>'
    cmp "$SITE/LICENSE" "$ROOT/LICENSE" || problem 'no license'
    no_problems
}

@test "a page that is missing, or a heading, or its order, is found" {
    spoil '>Is it?' '>It is' # Something else: no problem of this kind.
    run -0 "$reader" headings "$SITE" "$MARKDOWN"
    rm "$PAGE"
    finds 'README.md:1: the site has no page with this title' \
        headings "$SITE" "$MARKDOWN"
    spoil 'Try it</h' 'Try this</h'
    finds "README.md:36: 'Try it' is no heading" headings "$SITE" "$MARKDOWN"
    spoil 'Where people trip</h' 'Try it</h'
    finds "'Where people trip' is no heading" headings "$SITE" "$MARKDOWN"
    # Its words are there, but as text.
    fine_site
    perl -0777 -i -pe 's{<h\d[^>]*>((?:(?!<h\d).)*Going on)</h\d>}{<p>$1</p>}s' \
        "$PAGE"
    grep -q 'Going on</p>' "$PAGE"
    finds "README.md:40: 'Going on' is no heading" headings "$SITE" "$MARKDOWN"
    fine_site
    perl -i -pe 's{Run it</h}{#</h} || s{How it works</h}{Run it</h};
        s{#</h}{How it works</h}' "$PAGE"
    finds "'How it works' is no heading" headings "$SITE" "$MARKDOWN"
}

@test "an escaped tag is found" {
    fine_site
    local line
    line=$(grep -n 'It hangs' "$PAGE") && line=${line%%:*}
    spoil 'It hangs.' '&lt;tt&gt;It hangs.&lt;/tt&gt;'
    finds "$PAGE:$line: an escaped tag: <tt>It hangs.</tt>" text "$PAGE"
    for tag in h1 /h1 em 'a href="x"' 'a ' ul code sup; do
        spoil 'It hangs.' "It &lt;$tag&gt;hangs."
        finds "an escaped tag: <$tag>hangs" text "$PAGE"
    done
    # In code it is one as well, if HTML has it.
    spoil '>EIO' '>&lt;tt&gt;EIO'
    finds 'an escaped tag: <tt>EIO' text "$PAGE"
    spoil '$ echo' '&lt;h1&gt; echo'
    finds 'an escaped tag: <h1> echo' text "$PAGE"
    # A comparison is none.
    spoil 'It hangs.' 'It hangs while a &lt; b &gt; c.'
    run -0 "$reader" text "$PAGE"
}

@test "a command of Doxygen is found" {
    for command in '@ref /a/b "c"' '@verbatim' '@endverbatim' '\ref x'; do
        spoil 'It hangs.' "It $command hangs."
        finds "a command of Doxygen: $command" text "$PAGE"
    done
    spoil '>EIO' '>@verbatim EIO'
    finds 'a command of Doxygen: @verbatim' text "$PAGE"
    spoil 'It hangs.' 'It hangs, says in@circl.es.'
    run -0 "$reader" text "$PAGE"
}

@test "an asterisk around code or text is found" {
    spoil '<em><' '*<'
    finds 'an asterisk: *' text "$PAGE"
    spoil 'nothing' 'nothing*'
    finds 'an asterisk: *" else' text "$PAGE"
    spoil 'It hangs.' '**It hangs.**'
    finds 'an asterisk: **It hangs.**' text "$PAGE"
    spoil 'It hangs.' '&#42;It hangs.&#x2A;'
    finds 'an asterisk: *It hangs.*' text "$PAGE"
}

@test "a backquote is found" {
    spoil 'It hangs.' 'It `hangs`.'
    finds 'a backquote: `hangs`.' text "$PAGE"
}

@test "a link as it is written is found" {
    spoil 'It hangs.' '[It](README.md) hangs.'
    finds 'a link as it is written: ](README.md) hangs' text "$PAGE"
    spoil 'It hangs.' '[<code>It</code>](README.md) hangs.'
    finds 'a link as it is written: ](README.md) hangs' text "$PAGE"
}

@test "a dead link of the site is found" {
    fine_site
    for target in gone.html gone LICENSE/ 'gone%20too.svg' search/gone.js; do
        spoil 'It hangs.' "It <a class=\"el\" href=\"$target\">hangs</a>."
        finds "the link to '$target' is dead" links "$SITE" "$PAGE"
    done
    for target in '#gone' 'index.html#gone'; do
        spoil 'It hangs.' "It <a href='$target'>hangs</a>."
        finds "the link to '$target': there is no such anchor" links "$SITE" "$PAGE"
    done
    # That leads somewhere here, but not for whoever has the site alone.
    spoil 'It hangs.' '<a href="../site.html">It</a> hangs.'
    touch "$BATS_TEST_TMPDIR/site.html"
    finds "the link to '../site.html' leads out of the site" links "$SITE" "$PAGE"
    spoil 'data="rings.svg"' 'data="ring.svg"'
    finds "the link to 'ring.svg' is dead" links "$SITE" "$PAGE"
    spoil 'It hangs.' '<img src="hangs.png"/>.'
    finds "the link to 'hangs.png' is dead" links "$SITE" "$PAGE"
    spoil 'It hangs.' '<a id="it"></a><a href="#it">It</a> hangs.'
    run -0 "$reader" links "$SITE" "$PAGE"
    # The page is gone from below those that name it.
    fine_site
    rm "$PAGE"
    finds "the link to '${PAGE##*/}' is dead" links "$SITE" "$SITE/index.html"
    finds "the link to '${PAGE##*/}' is dead" links "$SITE" "$SITE/navtreedata.js"
}

@test "a folder of the machine that made it is found" {
    spoil 'It hangs.' "It $ROOT/chapters/07-fine/README.md hangs."
    finds "names $ROOT" paths "$ROOT" "$PAGE"
    spoil 'data="rings.svg"' "data=\"$ROOT/docs/rings.svg\""
    finds "names $ROOT" paths "$ROOT" "$PAGE"
    # A path may end like one of these.
    spoil 'It hangs.' 'It hangs in my/src and /src2.'
    run -0 "$reader" paths /src "$PAGE"
    spoil 'It hangs.' 'It hangs in /src/x.'
    finds 'names /src' paths /src "$PAGE"
}
