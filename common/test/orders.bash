# For the chapters with a ring by hand: the order of their memory accesses. On x86-64
# a load is an acquire and a store a release whatever the source says, so a wrong order
# can't be seen failing there. arm64 has instructions of their own for it: ldar and
# ldapr load with acquire, stlr stores with release.
# shellcheck shell=bash

# need_arm64_objects SOURCE: compile it for arm64, and fill the map `orders`: for each
# function its instructions of that kind, in their order. Skips without a compiler.
need_arm64_objects() {
    local cc=aarch64-linux-gnu-gcc objdump=aarch64-linux-gnu-objdump
    if [[ $(uname -m) == aarch64 ]]; then
        cc=cc objdump=objdump
    fi
    command -v "$cc" >/dev/null || skip "$cc is not installed"
    declare -gA orders=()
    local function instruction
    "$cc" -D_FILE_OFFSET_BITS=64 -I"$ROOT/common" -O2 -fno-inline -c \
        -o "$BATS_TEST_TMPDIR/arm64.o" "$1"
    "$objdump" -d "$BATS_TEST_TMPDIR/arm64.o" >"$BATS_TEST_TMPDIR/arm64"
    while read -r function instruction; do
        orders[$function]+="${orders[$function]:+ }${instruction/ldapr/ldar}"
    done < <(perl -ne '
        $f = $1 if /^[0-9a-f]+ <(\w+)/;
        print "$f $1\n" if /\t(ldar|ldapr|stlr)\t/' "$BATS_TEST_TMPDIR/arm64")
}
