#!/usr/bin/env bats
# 09 · O_DIRECT: submit hands over and returns, past the page cache; and what
# has to be aligned for that.
# shellcheck disable=SC2030,SC2031 # FILE is each test's own

setup() {
    load ../../common/test/helpers
    needs 09-o-direct
    FILE=$(make_file $((4 << 20)))
}

# row WRITE-OR-READ OFFSET LENGTH MEMORY [NTH]: that line of the table in $output:
# sleeps, complete, res.
row() {
    awk -v key="$1 $2 $3 $4" -v nth="${5:-1}" \
        '$1 " " $2 " " $3 " " $4 == key && !--nth { $1 = $2 = $3 = $4 = ""; print }' \
        <<<"${output?}" | sed 's/^ *//'
}

# need_rules: skip where a read that keeps to no rule reads all the same. dd asks, by
# another hand than the program's: a page from byte 1 on.
need_rules() {
    dd if="$FILE" of=/dev/null bs=4096 count=1 iflag=direct 2>/dev/null ||
        skip 'dd can not read with O_DIRECT here'
    ! dd if="$FILE" of=/dev/null bs=4096 count=1 skip=1 iflag=direct,skip_bytes \
        2>/dev/null ||
        skip "on this file system a read that is not aligned reads all the same"
}

# stand_in: a library that steps between the program and the kernel. With
# TELL=nothing, statx() tells no alignment; with TELL=none it says that there is
# no O_DIRECT, with TELL=large that memory must be aligned to 8192. fstat() adds SIZE to the size of a file.
stand_in() {
    cc -D_FILE_OFFSET_BITS=64 -shared -fPIC \
        -o "$BATS_TEST_TMPDIR/libstandin.so" -x c - <<'END'
#define _GNU_SOURCE
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

int statx(int fd, const char *path, int flags, unsigned mask, struct statx *to)
{
    int result = (int)syscall(SYS_statx, fd, path, flags, mask, to);
    const char *tell = getenv("TELL");
#ifdef STATX_DIOALIGN
    if (tell)
        to->stx_mask &= ~STATX_DIOALIGN;
    if (tell && strcmp(tell, "none") == 0) {
        to->stx_mask |= STATX_DIOALIGN;
        to->stx_dio_mem_align = to->stx_dio_offset_align = 0;
    }
    if (tell && strcmp(tell, "large") == 0) {
        to->stx_mask |= STATX_DIOALIGN;
        to->stx_dio_mem_align = 8192;
        to->stx_dio_offset_align = 4096; /* Btrfs tells none. */
    }
#endif
    return result;
}

int fstat(int fd, struct stat *to)
{
    int result = fstatat(fd, "", to, AT_EMPTY_PATH);
    if (getenv("SIZE"))
        to->st_size += atol(getenv("SIZE"));
    return result;
}
END
}

# with_stand_in [VARIABLE=VALUE]... PROGRAM [ARGUMENTS]
with_stand_in() {
    ASAN_OPTIONS=$ASAN_OPTIONS:verify_asan_link_order=0:detect_leaks=0 \
        env LD_LIBRARY_PATH="$BATS_TEST_TMPDIR" LD_PRELOAD=libstandin.so "$@"
}

@test "the same bytes as 01, in either pass" {
    run -0 --separate-stderr "$BIN/09-o-direct" "$FILE"
    for pass in 1 2; do
        assert_equal "$(fact checksum $pass)" "$(checksum_of_01)"
        assert_equal "$(fact threads $pass)" 1
    done
    assert_equal "$(fact 'most in flight' 1)" 8
    assert_equal "$stderr" ''
}

# The climax. A busy machine may stop the thread in the middle of its submit, for
# so long that the disk is done before it goes on: once in twenty runs is enough.
@test "submit returns with fewer than eight complete and no sleep; 08 has eight" {
    need_cold
    for _ in {1..20}; do
        run -0 "$BIN/08-io-submit" "$FILE"
        assert_equal "$(in_submit 1)" '8 of 8'
        run -0 "$BIN/09-o-direct" "$FILE"
        assert_line --index 0 --partial ', cold: 0 of '
        early=$(in_submit 1)
        singly=$(in_submit 2)
        if ((${early% of 8} < 8 && ${singly% of 8} < 8)) &&
            [[ $(fact 'sleeps in submit' 1) == 0 &&
                $(fact 'sleeps in submit' 2) == 0 ]] &&
            (($(fact 'most in flight' 2) > 1)); then
            return 0
        fi
    done
    fail "$output"
}

@test "no page of the file gets into the cache" {
    need_cold
    run -0 "$BIN/09-o-direct" "$FILE"
    assert_equal "$(fact 'pages in the cache')" '0 before, 0 between, 0 after'
    if command -v fincore >/dev/null; then
        assert_equal "$(fincore -n -o PAGES "$FILE" | tr -d ' ')" 0
    fi
}

@test "strace: one submit of eight, the descriptor direct, nobody else reads" {
    need_strace
    strace_calls fcntl,statx,io_submit,io_getevents,pread64,read \
        "$BIN/09-o-direct" "$FILE"
    assert_success
    assert_equal "$(count_calls fcntl "<$FILE>" 'F_SETFL, O_RDONLY|O_DIRECT')" 1
    assert_equal "$(count_calls statx "<$FILE>" 'STATX_DIOALIGN')" 1
    first=$(calls io_submit "<$FILE>" | head -n 1)
    assert_regex "$first" '^[0-9]+ +io_submit\(0x[0-9a-f]+, 8, \[.*\) = 8$'
    assert_equal "$(grep -oE "aio_fildes=[0-9]*<$(as_regex "$FILE")>" <<<"$first" | wc -l)" 8
    assert_regex "$(calls io_getevents | head -n 1)" \
        ', 0, 8, .*\{tv_sec=0, tv_nsec=0\}\) = [0-8]$'
    assert_equal "$(count_calls pread64 "<$FILE>")" 0
    assert_equal "$(count_calls read "<$FILE>")" 0
}

# misaligned UNIT: how many requests for $FILE in the log are not in multiples of
# that.
misaligned() {
    calls io_submit "<$FILE>" | tr '{' '\n' | grep -F "<$FILE>" |
        sed -nE 's/.*aio_buf=0x([0-9a-f]+), aio_nbytes=([0-9]+), aio_offset=([0-9]+).*/\1 \2 \3/p' |
        while read -r buffer length offset; do
            echo "$(((16#$buffer | length | offset) % $1))"
        done | { echo any; cat; } | grep -cvxE 'any|0' || :
}

# job_of CHAPTER: the part of its source that does the job.
job_of() {
    sed -n '/^\/\* --- The job/,/^\/\* --- W/p' "$ROOT/chapters/$1/${1#*-}.c" |
        sed '$d'
}

# bats test_tags=source
@test "the job is 08's, line for line, but for the alignment" {
    run -1 diff <(job_of 08-io-submit) <(job_of 09-o-direct)
    assert_equal "$(grep '^<' <<<"$output")" \
        '<         .aio_nbytes = block->length - request->done,'
    assert [ "$(grep -c '^>' <<<"$output")" -le 16 ]
}

# bats test_tags=deep
@test "files of any size are read in multiples, and end where they end" {
    need_strace
    for bytes in 1 511 4097 65537 524287; do
        FILE=$(make_file $bytes)
        strace_calls io_submit "$BIN/09-o-direct" "$FILE"
        assert_success
        assert_equal "$(fact checksum 1)" "$(checksum_of_01)"
        assert_equal "$(fact checksum 2)" "$(checksum_of_01)"
        unit=$(fact alignment | sed -E 's/.*length ([0-9]+) .*/\1/')
        assert [ "$(count_calls io_submit "<$FILE>")" -gt 0 ]
        assert_equal "$(misaligned "$unit")" 0
        assert [ "$(misaligned 1048576)" -gt 0 ]
    done
}

# bats test_tags=deep
@test "a short read is finished, from an aligned place on" {
    need_strace
    for bytes in $((4 << 20)) 524287; do
        FILE=$(make_file $bytes)
        strace_short io_submit "$BIN/09-o-direct" "$FILE"
        assert_success
        assert_equal "$(fact checksum 1)" "$(checksum_of_01)"
        assert_equal "$(fact checksum 2)" "$(checksum_of_01)"
        # Each block is submitted a second time, for its last page.
        assert_equal "$(count_calls io_submit "<$FILE>" 'aio_nbytes=4096')" 16
        assert_equal "$(misaligned 512)" 0
    done
}

# bats test_tags=deep
@test "a file that ends sooner than its size said is an error, no endless loop" {
    stand_in
    local short
    short=$(make_file 4196)
    run -1 --separate-stderr with_stand_in SIZE=5000 timeout 60 \
        "$BIN/09-o-direct" "$short"
    assert_equal "$stderr" "09-o-direct: reading $short at byte 0: the file ends\
 sooner than its size said"
}

@test "each rule broken by one byte is EINVAL; kept, it reads" {
    need_rules
    run -0 "$BIN/09-o-direct" "$FILE"
    assert_regex "$(row read 0 4096 0)" ' 4096$'
    assert_regex "$(row read 1 4096 0)" ' -22 -EINVAL$'
    assert_regex "$(row read 0 4095 0)" ' -22 -EINVAL$'
    assert_regex "$(row read 0 4096 1)" ' -22 -EINVAL$'
}

# bats test_tags=deep
@test "at an odd end: just that much fails, more is short; on from a multiple" {
    need_rules
    run -0 "$BIN/09-o-direct" "$FILE"
    assert_regex "$(row read 0 4196 0)" ' -22 -EINVAL$'
    assert_regex "$(row read 0 8192 0)" ' 4196$'
    assert_regex "$(row read 4196 3996 4196)" ' -22 -EINVAL$'
    assert_regex "$(row read 4096 4096 4096)" ' 4096$'
}

# ext4 waits for a write that makes the file longer, and only for that one. XFS waits
# for neither. Btrfs takes both through the cache where it has checksums of the data,
# which is the default, since Linux 6.14; a change of 2026 copies the data instead, and
# writes the copy past the cache. Where submit need not wait, the disk can be
# done before we look. In one of twenty runs it is not: on a busy machine the rate was
# 8 of 12 for a write on XFS, 10 of 20 for the second one on ext4.
@test "which write is done in submit: one, none, or both, by the file system" {
    local type slept='' first='' second=''
    type=$(stat -f -c %T "$BATS_TEST_TMPDIR")
    [[ $type != btrfs || $(uname -r) == 6.1[4-9].* ]] ||
        skip 'Btrfs of other kernels than 6.14 to 6.19 can write past the cache'
    for _ in {1..20}; do
        run -0 "$BIN/09-o-direct" "$FILE"
        [[ $(row write 0 65536 0 1) == 0* ]] || slept=yes
        [[ $(row write 0 65536 0 1) != '0 no 65536' ]] || first=yes
        [[ $(row write 0 65536 0 2) != '0 no 65536' ]] || second=yes
        case $type in
            ext2/ext3)
                # Each time.
                assert_regex "$(row write 0 65536 0 1)" '^[0-9]+ yes 65536$'
                [[ ! $slept || ! $second ]] || return 0
                ;;
            xfs)
                [[ ! $first || ! $second ]] || return 0
                ;;
            btrfs)
                assert_regex "$(row write 0 65536 0 1)" '^[0-9]+ yes 65536$'
                assert_regex "$(row write 0 65536 0 2)" '^[0-9]+ yes 65536$'
                ;;
            *) skip "nobody has looked which writes wait on $type" ;;
        esac
    done
    [[ $type == btrfs ]] || fail "$output"
}

# bats test_tags=deep
@test "a dirty page in the cache is written first, in submit" {
    # Else the read may be one through the cache.
    need_rules
    for _ in {1..20}; do
        run -0 "$BIN/09-o-direct" "$FILE"
        [[ $(row read 0 4196 0) == 0* ]] || return 0
    done
    fail "$output"
}

# bats test_tags=deep
@test "the alignment is statx's; where that can't tell, the logical block size" {
    stand_in
    run -0 with_stand_in TELL=nothing "$BIN/09-o-direct" "$FILE"
    device=$(stat -c %d "$FILE")
    device=/sys/dev/block/$((device >> 8 & 0xfff)):$((device & 0xff))
    if size=$(cat "$device/queue/logical_block_size" \
        "$device/../queue/logical_block_size" 2>/dev/null) || [[ $size ]]; then
        assert_equal "$(fact alignment)" \
            "memory $size, offset and length $size (logical block size)"
    else
        assert_equal "$(fact alignment)" \
            'memory 4096, offset and length 4096 (a guess)'
    fi
    assert_equal "$(fact checksum 1)" "$(checksum_of_01)"
}

# bats test_tags=deep
@test "no O_DIRECT, said in either way: 77, with the reason" {
    need_strace
    # F_SETFL on the scratch file; then on FILE (the call before takes O_NONBLOCK
    # off it, and the run has a scratch file of its own).
    for when in 2 7; do
        run -77 --separate-stderr strace -o /dev/null -e signal=none \
            -e inject=fcntl:error=EINVAL:when=$when "$BIN/09-o-direct" "$FILE"
        assert_regex "$stderr" '^09-o-direct: .*: its file system has no O_DIRECT'
        case $when in
            2) assert_regex "$stderr" 'TMPDIR says where scratch files go' ;;
            7) assert_regex "$stderr" 'copy the file to one' ;;
        esac
        assert_equal "$output" ''
    done
    assert_regex "$stderr" "^09-o-direct: $(as_regex "$FILE"): "
    stand_in
    if grep -q STATX_DIOALIGN /usr/include/linux/stat.h; then
        run -77 --separate-stderr with_stand_in TELL=none "$BIN/09-o-direct" \
            "$FILE"
        assert_regex "$stderr" 'has no O_DIRECT'
        run -77 --separate-stderr with_stand_in TELL=large "$BIN/09-o-direct" \
            "$FILE"
        assert_regex "$stderr" 'wants multiples of 8192 bytes'
    fi
}

# bats test_tags=deep
@test "no scratch file is left" {
    export TMPDIR=$BATS_TEST_TMPDIR/scratch
    mkdir "$TMPDIR"
    run -0 "$BIN/09-o-direct" "$FILE"
    assert_equal "$(ls -A "$TMPDIR")" ''
}
