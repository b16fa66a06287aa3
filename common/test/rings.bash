# For the chapters with a ring: what common/test/rings.c sees in it.
# shellcheck shell=bash

# with_rings [NAME=VALUE]... COMMAND...: run it with rings.c between the program
# and its ring, which writes down what it sees. Sets $status, $output and $stderr
# as `run --separate-stderr` does. With SHORT=1 the reads come back short as well.
with_rings() {
    local libraries=librings.so
    if [[ $1 == SHORT=1 ]]; then
        libraries+=:libshort.so
        shift
    fi
    RINGS_LOG=$BATS_TEST_TMPDIR/rings.log
    rm -f "$RINGS_LOG"
    run --separate-stderr in_time env \
        ASAN_OPTIONS="${ASAN_OPTIONS:-}:verify_asan_link_order=0" \
        LD_LIBRARY_PATH="$BUILD" LD_PRELOAD=$libraries \
        RINGS_LOG="$RINGS_LOG" "$@"
}

# fail_enter PROGRAM ERROR WHEN: many blocks of $FILE through two slots, so that there
# are many submits and many waits, on a quick disk too; and that call of io_uring_enter()
# fails. What the call was is added to the file "failed".
fail_enter() {
    run --separate-stderr in_time strace -o "$BATS_TEST_TMPDIR/enter" \
        -e signal=none -e trace=io_uring_enter \
        -e inject=io_uring_enter:error="$2":when="$3" \
        "$BIN/$1" --entries 2 -n 40 -s 256K "$FILE"
    sed -nE '/INJECTED/s/^[^,]*, ([0-9]+), ([01]), .*/\1 \2/p' "$BATS_TEST_TMPDIR/enter" \
        >>"$BATS_TEST_TMPDIR/failed"
}

# failed KIND: has a call of that kind failed? A submit of 2 is "2 0", a wait "0 1".
failed() { grep -qxE "$1" "$BATS_TEST_TMPDIR/failed" 2>/dev/null; }

# early_waits BLOCKS [TIMES]: print the waits in the log at which more could have
# been handed over, when BLOCKS are read with TIMES requests each; or else "none of
# N". After EAGAIN and EBUSY (-11, -16) nothing can be handed over just now.
early_waits() {
    perl -ane '
        BEGIN { ($blocks, $times) = splice @ARGV, 0, 2 }
        if ($F[0] eq "submit") { $refused = $F[1] == -11 || $F[1] == -16; next }
        my (undef, $taken, $reaped, $queued, $sq, $cq) = @F;
        my $in_flight = $taken - $reaped;
        # So many blocks at the least want bytes, and are not asked for.
        my $want = $blocks - int($reaped / $times) - $in_flight - $queued;
        my $room = $sq < $cq - $in_flight ? $sq : $cq - $in_flight;
        $waits++;
        push @early, $_ if !$refused && ($queued > 0 || $want > 0 && $room > 0);
        END { print @early ? @early : sprintf("none of %d\n", $waits // 0) }' \
        "$1" "${2:-1}" "$RINGS_LOG"
}

# spins: print the submits in the log that were refused with EAGAIN or EBUSY, and
# before them another one was, with no wait between them and nothing reaped. That
# is a loop that never sleeps. Or else "none of N" that were refused.
spins() {
    awk '$1 == "wait" { last = "" }
        $1 != "submit" { next }
        $2 != -11 && $2 != -16 { last = ""; next }
        { refused++ }
        $3 == last { print; spins++ }
        { last = $3 }
        END { if (!spins) print "none of " refused + 0 }' "$RINGS_LOG"
}

# hands_over_first PROGRAM: it reads $FILE right, and never waits as long as it can
# hand over more. Whatever the queues have room for, however the reads come back,
# and though a submit is refused.
hands_over_first() {
    local entries blocks refuse waits=0 sums=() each=2 full=(3 17)
    set +T # Else bats looks at each command, which takes as long as the rest.
    [[ ! ${DEEP-} ]] || each='1 2 8' full=(1 2 3 5 8 9 17 32 100)
    for entries in $each; do
        for blocks in "${full[@]}"; do
            _reads_at_once "$1" "$entries" "$blocks" ''
        done
        for blocks in 3 20; do
            _reads_at_once "$1" "$entries" "$blocks" SHORT=1
        done
        # Interrupted; no memory for a request; no room for completions.
        for refuse in '4 1 1' '4 3 2' '11 2 1' '11 3 2' '16 2 1' '16 3 2'; do
            _reads_at_once "$1" "$entries" 20 '' "$refuse"
        done
        _reads_at_once "$1" "$entries" 20 SHORT=1 '4 3 9'
    done
    # Where the disk is too quick for any wait, this proves nothing.
    ((waits > 0)) || problem 'no wait was seen'
    no_problems
}

# _reads_at_once PROGRAM ENTRIES BLOCKS [SHORT=1] [REFUSE]
_reads_at_once() {
    local found case="--entries $2 -n $3 $4 ${5:-}"
    # shellcheck disable=SC2086 # a word or none
    with_rings $4 ${5:+RINGS_REFUSE="$5"} "$BIN/$1" --entries "$2" -n "$3" \
        -s 16K "$FILE"
    # With nothing in flight no room can be hoped for.
    if ((status == 1)) && [[ ${5:-} == 1[16]* ]] &&
        [[ $stderr == "$1: submitting "* ]]; then
        return 0
    fi
    [[ -v sums[$3] ]] || sums[$3]=$(checksum_of_01 -n "$3" -s 16K)
    if ((status != 0)); then
        problem "$case: status $status: $stderr"
    elif [[ $(fact checksum) != "${sums[$3]}" ]]; then
        problem "$case: other bytes"
    fi
    found=$(early_waits "$3" "${4:+2}")
    if [[ $found == 'none of '* ]]; then
        waits=$((waits + ${found#none of }))
    else
        problem "$case: waits at TAKEN REAPED QUEUED SQ CQ: $found"
    fi
}

# takes_nowait FILE: does its file system try a read without waiting (RWF_NOWAIT)? A
# ring does no read by itself where it does not, as on overlayfs: threads of the kernel's
# do them all.
takes_nowait() {
    local tool=$BATS_RUN_TMPDIR/takes-nowait
    [[ -x $tool ]] || cc -x c -o "$tool" - <<'END'
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <sys/uio.h>

int main(int argc, char **argv)
{
    char byte;
    int fd = open(argv[argc - 1], O_RDONLY);

    return preadv2(fd, &(struct iovec){&byte, 1}, 1, 0, RWF_NOWAIT) < 0 &&
           errno == EOPNOTSUPP;
}
END
    "$tool" "$1"
}
