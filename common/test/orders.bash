# For the chapters with a ring by hand: the order of their memory accesses. On x86-64
# a load is an acquire and a store a release whatever the source says, so a wrong order
# can't be seen failing there. arm64 has instructions of their own for it: ldar and
# ldapr load with acquire, stlr stores with release.
# shellcheck shell=bash

# need_arm64_objects SOURCE: compile it for arm64, and fill the map `orders`: for each
# function its instructions of that kind, each with the counter of struct ring that it
# is for, in their order. Skips without a compiler.
need_arm64_objects() {
    local cc=aarch64-linux-gnu-gcc objdump=aarch64-linux-gnu-objdump
    if [[ $(uname -m) == aarch64 ]]; then
        cc=cc objdump=objdump
    fi
    command -v "$cc" >/dev/null || skip "$cc is not installed"
    declare -gA orders=()
    local function instruction counter name offsets=''
    # Where the pointers are in struct ring, as the compiler says it.
    for name in sq_head sq_tail cq_head cq_tail; do
        printf '#include <ring.h>\nint %s[offsetof(struct ring, %s)] = {1};\n' \
            "$name" "$name" | "$cc" -I"$ROOT/common" -x c -c \
            -o "$BATS_TEST_TMPDIR/offset.o" -
        offsets+="$name=$(($("$objdump" -t "$BATS_TEST_TMPDIR/offset.o" |
            awk -v name="$name" '$NF == name { print "0x" $(NF - 1) }') / 4)) "
    done
    "$cc" -D_FILE_OFFSET_BITS=64 -I"$ROOT/common" -O2 -fno-inline -c \
        -o "$BATS_TEST_TMPDIR/arm64.o" "$1"
    "$objdump" -d "$BATS_TEST_TMPDIR/arm64.o" >"$BATS_TEST_TMPDIR/arm64"
    while read -r function instruction counter; do
        orders[$function]+="${orders[$function]:+ }${instruction/ldapr/ldar} $counter"
    done < <(OFFSETS=$offsets perl -ne '
        BEGIN { %name = reverse map { split /=/ } split / /, $ENV{OFFSETS} }
        $f = $1 if /^[0-9a-f]+ <(\w+)/;
        # From which offset was the register loaded last?
        $from{$1} = $2 // 0 if /\tldr\t(x\d+), \[x\d+(?:, #(\d+))?\]/;
        ($from{$1}, $from{$2}) = ($3 // 0, ($3 // 0) + 8)
            if /\tldp\t(x\d+), (x\d+), \[x\d+(?:, #(\d+))?\]/;
        print "$f $1 ", $name{$from{$2} // -1} // "?", "\n"
            if /\t(ldar|ldapr|stlr)\tw\w+, \[(x\d+)\]/;' "$BATS_TEST_TMPDIR/arm64")
}
