#!/usr/bin/env bats
# 90 · The first byte: two calls for each block, and the first brings a page.

setup() {
    load ../../common/test/helpers
    FILE=$(make_file $((4 << 20)))
}

@test "the same bytes as 01, in two calls for each block" {
    run -0 --separate-stderr "$BIN/90-first-byte" "$FILE"
    assert_equal "$(fact checksum)" "$(checksum_of_01)"
    assert_equal "$(fact calls)" 16
    assert_equal "$stderr" ''
}

@test "strace: one byte, then the rest of the block" {
    need_strace
    strace_calls pread64 "$BIN/90-first-byte" "$FILE"
    assert_success
    assert_equal "$(count_calls pread64 "$FILE" ', 1, ')" 8
    assert_equal "$(count_calls pread64 "$FILE" ', 65535, ')" 8
}
