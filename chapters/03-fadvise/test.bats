#!/usr/bin/env bats
# 03 · Advice: WILLNEED starts the reads and tells nobody when they are done.

setup() {
    load ../../common/test/helpers
    FILE=$(make_file $((4 << 20)))
    # The scratch file too goes to the disk of the test's own files.
    export TMPDIR=$BATS_TEST_TMPDIR/scratch
    mkdir "$TMPDIR"
}

# row NAME: its three numbers in the table.
row() { sed -nE "s/^$1 +([0-9]+) +([0-9]+) +([0-9]+)$/\1 \2 \3/p" <<<"$output"; }

@test "both passes read what 01 reads; advised, all eight are in flight" {
    run -0 --separate-stderr "$BIN/03-fadvise" "$FILE"
    for pass in 1 2; do
        assert_equal "$(fact checksum $pass)" "$(checksum_of_01)"
        assert_equal "$(fact 'completed in the order' $pass)" '0 1 2 3 4 5 6 7'
        assert_equal "$(fact threads $pass)" 1
    done
    assert_equal "$(fact 'most in flight' 1)" 1
    assert_equal "$(in_submit 1)" '8 of 8'
    assert_equal "$(fact 'most in flight' 2)" 8
    assert_equal "$(in_submit 2)" '0 of 8'
    assert_equal "$stderr" ''
}

# order: what the log says of $FILE, a letter a call: d for DONTNEED, w for
# WILLNEED, a for other advice, r for a read.
order() {
    grep -F "<$FILE>" "$STRACE_LOG" | sed -E 's/^.*DONTNEED.*/d/
        s/^.*WILLNEED.*/w/; s/^.*POSIX_FADV.*/a/; s/^.* pread64.*/r/' |
        tr -d '\n'
}

@test "strace: eight advices, then eight reads, of the same places" {
    need_strace
    strace_calls fadvise64,pread64,read,readv,preadv,preadv2 \
        "$BIN/03-fadvise" "$FILE"
    assert_success
    # Readahead off, rehearsal; cold; advised; the table: an advice, then reads. On tmpfs
    # nothing can be dropped, so it is tried again.
    reads=rrrrrrrr
    assert_regex "$(order)" "^ad${reads}d${reads}d${reads//r/w}${reads}d+ar+d+a"

    offsets=$(seq 0 524288 3670016)
    assert_equal "$(calls fadvise64 "<$FILE>" WILLNEED | head -n 8 |
        sed -E 's/.*, ([0-9]+), 65536, POSIX_FADV_WILLNEED\) = 0$/\1/')" "$offsets"
    assert_equal "$(calls pread64 "<$FILE>" | sed -n 17,24p |
        sed -E 's/.*, 65536, ([0-9]+)\) = 65536$/\1/')" "$offsets"
}

# A busy machine may stop the thread anywhere, until the disk is done. So these
# two ask whether it can be seen at all: in one of twenty runs.
@test "cold, WILLNEED does not wait for the pages, and the reads wait less" {
    need_cold
    for _ in {1..20}; do
        run -0 "$BIN/03-fadvise" "$FILE"
        assert_line --index 0 --partial ', cold: 0 of '
        assert [ "$(fact 'sleeps in submit' 1)" -gt 0 ]
        read -r there _ all <<<"$(fact 'pages in the cache when the reads began')"
        assert_equal "$all" $((8 * 65536 / PAGE))
        read -r plain _ _ advised _ <<<"$(fact 'main thread waited')"
        if [[ $(fact 'sleeps in submit' 2) == 0 ]] && ((there < all)) &&
            perl -e 'exit !($ARGV[1] < $ARGV[0])' "$plain" "$advised"; then
            return 0
        fi
    done
    fail "$output"
}

@test "with work in between the pages come meanwhile, and no read waits" {
    need_cold
    for _ in {1..20}; do
        run -0 "$BIN/03-fadvise" --work 20000 "$FILE"
        read -r there _ all <<<"$(fact 'pages in the cache when the reads began')"
        if ((there == all)) && [[ $(fact 'main thread waited') == *' 0.00 ms advised'* &&
            $(fact 'main thread blocked' 2) == '0% (0% in submit)' ]]; then
            refute_line --partial 'waits for results'
            # To be in the cache is not to be in our memory.
            assert_equal "$(in_submit 2)" '0 of 8'
            return 0
        fi
    done
    fail "$output"
}

# RANDOM is exact. How far the others read ahead is the machine's affair, but
# never less than was asked for; and one page in the middle is no stream.
@test "RANDOM brings in what is asked for, the others may bring in more" {
    need_cold
    (($(stat -f -c %S "$FILE") <= PAGE)) ||
        skip 'blocks of this file system are larger than a page'
    # Where DAMON reclaims memory, it takes a page now and then between the read
    # and the count.
    for _ in {1..20}; do
        run -0 "$BIN/03-fadvise" "$FILE"
        assert_line --regexp \
            '^pages read in +1 at the start +1 in the middle +256 in order$'
        read -r start_n middle_n order_n <<<"$(row NORMAL)"
        read -r start_s middle_s order_s <<<"$(row SEQUENTIAL)"
        if [[ $(row RANDOM) == '1 1 256' && $middle_n$middle_s == 11 ]] &&
            ((start_n >= 1 && start_s >= 1 && order_n >= 256 && order_s >= 256)); then
            return 0
        fi
    done
    fail "$output"
}

# read_ahead: the limit for $FILE's device in KiB; none where sysfs is missing.
read_ahead() { cat "/sys/class/bdi/$(stat -c %Hd:%Ld "$FILE")/read_ahead_kb"; }

# by_hand WHAT: print a number of pages of $FILE in the cache, found by another hand
# than the program's.
#   neighbors  after a read of one byte at the start of the cold file. The pages after
#              the first come later, so this waits for one of them, for a second at most.
#   written    after a write, a sync_file_range(2) that waits for it, and DONTNEED.
by_hand() {
    local tool=$BATS_TEST_TMPDIR/by-hand
    [[ -x $tool ]] || cc -D_GNU_SOURCE -D_FILE_OFFSET_BITS=64 -x c -o "$tool" - <<'END'
#include <fcntl.h>
#include <stdio.h>
#include <sys/mman.h>
#include <time.h>
#include <unistd.h>

enum { SIZE = 1 << 20 };

static int pages(int fd)
{
    static unsigned char in[SIZE / 4096];
    void *map = mmap(NULL, SIZE, PROT_READ, MAP_SHARED, fd, 0);
    int n = 0;
    if (map == MAP_FAILED || mincore(map, SIZE, in))
        return -1;
    munmap(map, SIZE);
    for (int i = 0; i < SIZE / 4096; i++)
        n += in[i] & 1;
    return n;
}

int main(int argc, char **argv)
{
    static char data[SIZE];
    int fd = open(argv[2], O_RDWR);

    if (argv[1][0] == 'w') {
        if (pwrite(fd, data, SIZE, 0) != SIZE ||
            sync_file_range(fd, 0, 0, SYNC_FILE_RANGE_WRITE_AND_WAIT))
            return 1;
        posix_fadvise(fd, 0, 0, POSIX_FADV_DONTNEED);
    } else {
        posix_fadvise(fd, 0, 0, POSIX_FADV_DONTNEED);
        if (pread(fd, data, 1, 0) != 1)
            return 1;
        for (int i = 0; i < 100 && pages(fd) < 2; i++)
            nanosleep(&(struct timespec){.tv_nsec = 10000000}, NULL);
    }
    printf("%d\n", pages(fd));
}
END
    "$tool" "$1" "$FILE"
}

@test "where there is read ahead, one page at the start brings in its neighbors" {
    need_cold
    (($(by_hand neighbors) > 1)) || skip 'there is no read ahead of this file'
    # What comes behind the page that is asked for may come later.
    for _ in {1..20}; do
        run -0 "$BIN/03-fadvise" "$FILE"
        read -r normal _ in_order <<<"$(row NORMAL)"
        read -r sequential _ <<<"$(row SEQUENTIAL)"
        if ((normal > 1 && sequential > 1 && in_order > 256)); then
            return 0
        fi
    done
    fail "$output"
}

@test "strace: the table opens the file anew for each advice" {
    need_strace
    strace_calls openat,fadvise64,close "$BIN/03-fadvise" "$FILE"
    assert_success
    # The first open, and its RANDOM, are those of blocks_open().
    assert_equal "$(count_calls openat "\"$FILE\"" O_RDONLY)" 10
    assert_equal "$(count_calls fadvise64 "<$FILE>" '0, 0, POSIX_FADV_RANDOM)')" 4
    for advice in NORMAL SEQUENTIAL; do
        assert_equal "$(count_calls fadvise64 "<$FILE>" "0, 0, POSIX_FADV_$advice)")" 3
    done
}

@test "one WILLNEED brings in pages that nobody reads, and not any number" {
    need_cold
    local limit most sys big
    big=$(make_file $((16 << 20)))
    for _ in {1..20}; do
        run -0 "$BIN/03-fadvise" "$big"
        came=$(fact "WILLNEED on $((16777216 / PAGE)) pages at once")
        ((${came% came} == 0)) || break
    done
    assert [ "${came% came}" -gt 0 ]
    # force_page_cache_ra(): the read ahead, or the largest request if that is
    # more. A partition has no queue; its disk has.
    sys=$(realpath "/sys/dev/block/$(stat -c %Hd:%Ld "$FILE")") || return 0
    [[ -e $sys/queue ]] || sys=${sys%/*}
    limit=$(read_ahead) && most=$(cat "$sys/queue/max_sectors_kb") || return 0
    ((limit > most)) || limit=$most
    assert [ "${came% came}" -le $((limit * 1024 / PAGE)) ]
}

@test "advice that can't be followed is no error, a pipe is" {
    need_strace
    strace_calls fadvise64 "$BIN/03-fadvise" "$FILE"
    assert_success
    assert_line 'WILLNEED behind the end of the file: no error'
    assert_line 'WILLNEED on a pipe: ESPIPE'
    assert_equal "$(count_calls fadvise64 "<$FILE>" ', 4194304, 1048576, ' 'WILLNEED) = 0')" 1
    assert_equal "$(count_calls fadvise64 '<pipe:' ' = -1 ESPIPE')" 1
}

@test "DONTNEED leaves dirty pages, and drops them after an fsync" {
    need_cold
    pages=$(((1 << 20) / PAGE))
    for _ in {1..20}; do
        run -0 "$BIN/03-fadvise" "$FILE"
        assert_equal "$(fact 'written, fsync, DONTNEED')" "0 of $pages pages stay"
        stay=$(fact 'written, DONTNEED')
        # The advice is not remembered.
        assert_equal "$(fact 'no longer dirty')" "$stay"
        if ((${stay% of*} > 0)); then
            return 0
        fi
    done
    fail "$output"
}

# Nothing but the first DONTNEED can have started the writing here. It need not, says
# posix_fadvise(2); file systems for disks do. sync_file_range(2) waits for the pages of
# the inode that it is given. That of overlayfs has none: they are those of a file below.
@test "a second DONTNEED drops what the first has sent to the disk" {
    need_cold
    (($(by_hand written) == 0)) || skip 'sync_file_range(2) does not wait here: overlayfs?'
    run -0 "$BIN/03-fadvise" "$FILE"
    assert_equal "$(fact 'DONTNEED again')" "0 of $(((1 << 20) / PAGE)) pages stay"
}

@test "strace: no write is asked for between the first two DONTNEEDs" {
    need_strace
    strace_calls pwrite64,fadvise64,sync_file_range,fsync "$BIN/03-fadvise" "$FILE"
    assert_success
    sequence=$(grep -F "<$TMPDIR/" "$STRACE_LOG" |
        sed -E 's/^[0-9]+ +(\w+)\(.*/\1/' | uniq | paste -sd ' ')
    assert_equal "$sequence" \
        'pwrite64 fadvise64 sync_file_range fadvise64 pwrite64 fsync fadvise64'
    assert_equal "$(count_calls sync_file_range 'SYNC_FILE_RANGE_WAIT_BEFORE) = 0')" 1
}

@test "a short read is finished, and one that a signal interrupts made again" {
    need_strace
    strace_short pread64 "$BIN/03-fadvise" -s 64K "$FILE"
    assert_success
    assert_equal "$(fact checksum 2)" "$(checksum_of_01)"
    # A page of each block is missing, in either pass.
    assert_equal "$(count_calls pread64 "<$FILE>" ', 61440, ')" 24

    run -0 --separate-stderr strace -o /dev/null -P "$FILE" -e signal=none \
        -e inject=pread64:error=EINTR:when=15..20 "$BIN/03-fadvise" "$FILE"
    assert_equal "$(fact checksum 1)" "$(checksum_of_01)"
    assert_equal "$(fact checksum 2)" "$(checksum_of_01)"
}

@test "an error names the file and the place" {
    need_strace
    run -1 --separate-stderr strace -o /dev/null -P "$FILE" -e signal=none \
        -e inject=pread64:error=EIO:when=18 "$BIN/03-fadvise" "$FILE"
    assert_equal "$stderr" \
        "03-fadvise: reading $FILE at byte 524288: Input/output error"
}

@test "a kernel built without advice is named, with status 77" {
    need_strace
    for check in '' --check; do
        run -77 --separate-stderr strace -o /dev/null -e signal=none \
            -e inject=fadvise64:error=ENOSYS "$BIN/03-fadvise" $check
        assert_regex "$stderr" '^03-fadvise: .*CONFIG_ADVISE_SYSCALLS$'
        assert_equal "$output" ''
    done
}

@test "no scratch file is left" {
    run -0 "$BIN/03-fadvise" "$FILE"
    assert_equal "$(ls -A "$TMPDIR")" ''
}
