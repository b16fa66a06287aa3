#!/usr/bin/env bats
# 08 · io_submit: on a buffered file the submit does the reading itself.

setup() {
    load ../../common/test/helpers
    need_aio
    FILE=$(make_file $((4 << 20)))
}

@test "all eight are complete when submit returns, in either pass" {
    run -0 --separate-stderr "$BIN/08-io-submit" "$FILE"
    for pass in 1 2; do
        assert_equal "$(in_submit $pass)" '8 of 8'
        assert_equal "$(fact checksum $pass)" "$(checksum_of_01)"
        assert_equal "$(fact threads $pass)" 1
    done
    assert_equal "$(fact 'most in flight' 1)" 8
    assert_equal "$(fact 'most in flight' 2)" 1
    assert_equal "$stderr" ''
}

@test "cold, the thread sleeps inside submit" {
    need_cold
    run -0 "$BIN/08-io-submit" "$FILE"
    assert_line --index 0 --partial ', cold: 0 of '
    assert [ "$(fact 'sleeps in submit' 1)" -gt 0 ]
    assert [ "$(fact 'sleeps in submit' 2)" -gt 0 ]
}

@test "strace: one submit of eight, then a look without waiting finds eight" {
    need_strace
    strace_calls io_setup,io_submit,io_getevents,io_destroy,pread64,read \
        "$BIN/08-io-submit" "$FILE"
    assert_success
    first=$(calls io_submit "<$FILE>" | head -n 1)
    assert_regex "$first" '^[0-9]+ +io_submit\(0x[0-9a-f]+, 8, \[.*\) = 8$'
    assert_equal "$(grep -oE "aio_fildes=[0-9]*<$(as_regex "$FILE")>" <<<"$first" | wc -l)" 8
    look=$(calls io_getevents | head -n 1)
    assert_regex "$look" ', 0, 8, \[.*\{tv_sec=0, tv_nsec=0\}\) = 8$'
    # Nothing but AIO reads the file.
    assert_equal "$(count_calls pread64 "<$FILE>")" 0
    assert_equal "$(count_calls read "<$FILE>")" 0
    assert_equal "$(count_calls io_setup)" 1
    assert_equal "$(count_calls io_destroy)" 1
}

@test "strace: the second pass submits one by one" {
    need_strace
    strace_calls io_submit "$BIN/08-io-submit" "$FILE"
    assert_success
    assert_equal "$(calls io_submit "<$FILE>" ') = 1' | sed -n 1,8p |
        grep -c ', 1, \[')" 8
}

@test "the fsync is submitted after the write's result has come" {
    need_strace
    strace_calls io_submit,io_getevents "$BIN/08-io-submit" "$FILE"
    assert_success
    assert_line --regexp '^IOCB_CMD_PWRITE of 65536 bytes: res 65536$'
    assert_line 'IOCB_CMD_FSYNC: res 0'
    run -0 grep -nE 'IOCB_CMD_(PWRITE|FSYNC)|res=65536' "$STRACE_LOG"
    sequence=$(grep -oE 'IOCB_CMD_(PWRITE|FSYNC)|io_getevents' "$STRACE_LOG" |
        grep -A 3 PWRITE | paste -sd ' ')
    assert_equal "$sequence" \
        'IOCB_CMD_PWRITE io_getevents IOCB_CMD_FSYNC io_getevents'
}

# bats test_tags=deep
@test "mistakes: a bad iocb ends the batch, a failed read is told in res" {
    run -0 "$BIN/08-io-submit" "$FILE"
    assert_line 'three reads, the second with descriptor -1: 1 taken'
    assert_line 'the bad one first, then the third: -1, errno EBADF'
    assert_line 'the third alone: 1 taken'
    assert_line 'a read into memory that may not be written: res -14, -EFAULT'
}

# bats test_tags=deep
@test "a short read is finished, not taken for the whole" {
    need_strace
    strace_short io_submit "$BIN/08-io-submit" "$FILE"
    assert_success
    # Each read of the first pass is submitted a second time, for its last page.
    assert_equal "$(count_calls io_submit "<$FILE>" 'aio_nbytes=4096')" 16
    assert_equal "$(fact checksum 1)" "$(checksum_of_01)"
    assert_equal "$(fact checksum 2)" "$(checksum_of_01)"
}

# bats test_tags=deep
@test "no scratch file is left" {
    export TMPDIR=$BATS_TEST_TMPDIR/scratch
    mkdir "$TMPDIR"
    run -0 "$BIN/08-io-submit" "$FILE"
    assert_equal "$(ls -A "$TMPDIR")" ''
}

@test "refused: it says what is taken, and what to do" {
    need_strace
    run -77 --separate-stderr strace -o /dev/null -e signal=none \
        -e inject=io_setup:error=EAGAIN "$BIN/08-io-submit" "$FILE"
    assert_regex "$stderr" "the $(cat /proc/sys/fs/aio-max-nr) requests"
    assert_regex "$stderr" 'sysctl fs.aio-max-nr='
    assert_equal "$output" ''
}
