#!/usr/bin/env bats
# 11 · A ring without the kernel: counters that wrap and do no harm, two threads
# that pass items in order; and who finds out when the order is not kept.
# shellcheck disable=SC2030,SC2031 # $status is of each run

setup() {
    load ../../common/test/helpers
}

# in_ring NUMBER: as 32 bits hold it.
in_ring() { echo $(($1 & 0xffffffff)); }

# Each line of the drawing is worked out again here, in 64 bits.
@test "step by step: index, used, free and the drawing, across 2^32" {
    run -0 --separate-stderr "$BIN/11-ring-buffer"
    assert_equal "$stderr" ''
    local put=0 taken=0 steps='' t h used ring i
    while read -r kind tail tail_index head head_index used free; do
        steps+="${kind:0:4} "
        ring=${free#*|} free=${free%% *}
        case $kind in
            push) [[ $ring == *full ]] || ((++put)) ;;
            pop) [[ $ring == *empty ]] || ((++taken)) ;;
        esac
        t=$((4294967293 + put)) h=$((4294967293 + taken))
        assert_equal "$tail $tail_index" "$(in_ring $t) $((t % 4))"
        assert_equal "$head $head_index" "$(in_ring $h) $((h % 4))"
        assert_equal "$used $free" "$((put - taken)) $((4 - used))"
        # Refused is what must be, and nothing else.
        if [[ $ring == *full ]]; then assert_equal "$used" 4; fi
        if [[ $ring == *empty ]]; then assert_equal "$used" 0; fi
        # Item number i is the letter i, and is in slot (start + i) % 4.
        slots=('   ' '   ' '   ' '   ')
        for ((i = taken; i < put; i++)); do
            letters=ABCDE
            slots[(4294967293 + i) % 4]=" ${letters:i:1} "
        done
        slots[h % 4]="h${slots[h % 4]:1}"
        slots[t % 4]="${slots[t % 4]:0:2}t"
        assert_equal "${ring%|*}" "$(IFS='|' && echo "${slots[*]}")"
    done < <(sed -nE 's/^(start|push|pop)( +[A-E])? +/\1 /p' <<<"$output")
    # Full and empty were reached, and one more was tried.
    assert_equal "$steps" \
        'star push push push push push pop pop push pop pop pop pop '
    assert_equal "$(grep -c ' full$' <<<"$output")" 1
    assert_equal "$(grep -c ' empty$' <<<"$output")" 1
    # In between the tail was past zero, and the head was not.
    assert_line --regexp '^push D +1 +1 +4294967293 '
}

@test "all items come in order, with less than a ring of them and with more" {
    for n in 1 255 256 257 100000; do
        run -0 --separate-stderr "$BIN/11-ring-buffer" --items $n
        assert_line 'two threads, 256 slots, acquire and release'
        assert_equal "$(fact 'items in order')" "$n of $n"
        end=$(in_ring $((4294967293 + n)))
        assert_equal "$(fact 'tail and head at the end')" "$end and $end"
    done
}

@test "on one processor they take turns: who waits gives it up" {
    need_strace
    cpu=$(taskset -cp $$ | sed -E 's/.*: ([0-9]+).*/\1/')
    strace_calls sched_yield taskset -c "$cpu" "$BIN/11-ring-buffer"
    assert_success
    assert_equal "$(fact 'items in order')" '100000 of 100000'
    assert [ "$(count_calls sched_yield)" -gt 0 ]
}

# bats test_tags=deep
@test "strace: passing more items takes no more memory" {
    need_strace
    ! built_with '' || skip 'a sanitizer takes memory of its own'
    for n in 1 200000; do
        strace_calls mmap,mremap,brk "$BIN/11-ring-buffer" --items $n
        assert_success
        counts+=("$(wc -l <"$STRACE_LOG")")
    done
    assert_equal "${counts[0]}" "${counts[1]}"
}

@test "head, tail and slots are in cache lines of their own" {
    run -0 "$BIN/11-ring-buffer" --items 1
    assert_line --regexp '^in the ring: head at byte [0-9]+, tail at [0-9]+, s'
    read -r head tail slots \
        < <(sed -n 's/^in the ring: //p' <<<"$output" | tr -cs '0-9\n' ' ')
    assert_equal "$((head % 64)) $((tail % 64)) $((slots % 64))" '0 0 0'
    assert_equal "$(printf '%s\n' 0 "$head" "$tail" "$slots" | sort -un | wc -l)" 4
    # What false sharing costs is up to the machine.
    assert_line --regexp '^both in one cache line: [0-9.]+ ms of processor time$'
    assert_line --regexp '^each in a line of its own: [0-9.]+ ms, [0-9]+% of that$'
}

# bats test_tags=deep
@test "a thread that can't be started is told" {
    need_strace
    strace_calls clone,clone3 -e inject=clone,clone3:error=EAGAIN \
        "$BIN/11-ring-buffer"
    assert_failure 1
    assert_regex "$stderr" "^11-ring-buffer: starting the consumer: Resource\
 temporarily unavailable: .*ulimit -u"
}

# --- Is the order kept? ThreadSanitizer looks, whatever $BUILD is built with -----

# with_tsan SOURCE: build it with ThreadSanitizer, to $BATS_TEST_TMPDIR/tsan.
# Where it can't bear random addresses, $TSAN runs it without.
with_tsan() {
    local flags=(-g -O1 -fsanitize=thread "-I$ROOT/common")
    local empty=$BATS_TEST_TMPDIR/empty common=$BATS_TEST_TMPDIR/common.o
    echo 'int main(void) { return 0; }' >"$empty.c"
    "${CC:-cc}" "${flags[@]}" "$empty.c" -o "$empty" ||
        skip 'this compiler has no ThreadSanitizer'
    TSAN=(timeout 60)
    "$empty" || TSAN+=(setarch -R)
    "${TSAN[@]}" "$empty" || skip 'ThreadSanitizer does not run here'
    # Once for all twins: what the chapters share, in one object.
    [[ -e $common ]] ||
        "${CC:-cc}" "${flags[@]}" -r "$ROOT"/common/*.c -o "$common"
    "${CC:-cc}" "${flags[@]}" "$1" "$common" -pthread -lz \
        -o "$BATS_TEST_TMPDIR/tsan"
}

# tsan [ARGUMENTS]: run that.
tsan() {
    TSAN_OPTIONS=exitcode=66 run --separate-stderr \
        "${TSAN[@]}" "$BATS_TEST_TMPDIR/tsan" --items 20000 "$@"
}

# finds_race [ARGUMENTS]: run that until it reports one. It does so only while it
# remembers what the other thread did last, which may be too long ago.
finds_race() {
    for _ in {1..5}; do
        tsan "$@"
        ((status == 0)) || break
    done
    assert_failure 66
}

# bats test_tags=deep
@test "ThreadSanitizer: clean with acquire and release, a race with --relaxed" {
    with_tsan "$ROOT/chapters/11-ring-buffer/ring-buffer.c"
    for _ in {1..2}; do
        tsan
        assert_success
        assert_equal "$stderr" ''
        assert_equal "$(fact 'items in order')" '20000 of 20000'
        finds_race --relaxed
        assert_line 'two threads, 256 slots, relaxed order'
        # It is the slot that they race for, and not a counter.
        assert_regex "$stderr" 'WARNING: ThreadSanitizer: data race'
        assert_regex "$stderr" 'Read of size 4 .* by thread T1'
        assert_regex "$stderr" '#0 pop '
        assert_regex "$stderr" 'Previous write of size 4 .* by main thread'
        assert_regex "$stderr" "Location is global '[a-z.]*ring"
    done
}

# bats test_tags=deep
@test "ThreadSanitizer: none of the four can be left out" {
    twin=$BATS_TEST_TMPDIR/twin.c
    for weak in 's/= look\((&ring->(head|tail))\)/= atomic_load_explicit($1, memory_order_relaxed)/' \
        's/publish\((&ring->(head|tail)), ((head|tail) \+ 1)\)/atomic_store_explicit($1, $3, memory_order_relaxed)/'; do
        for counter in head tail; do
            perl -pe "${weak/(head|tail)/($counter)} and \$n++;
                END { exit(\$n != 1) }" \
                "$ROOT/chapters/11-ring-buffer/ring-buffer.c" >"$twin"
            with_tsan "$twin"
            finds_race
            assert_regex "$stderr" 'ThreadSanitizer: data race .* in (push|pop)'
        done
    done
}

# If this fails one day, the compiler has changed its mind, and the page has to.
@test "x86-64 hides it: the same store for both, and --relaxed seems to work" {
    [[ $(uname -m) == x86_64 ]] || skip 'not an x86-64'
    for order in release relaxed; do
        "${CC:-cc}" -O2 -S -x c - -o "$BATS_TEST_TMPDIR/$order.s" <<END
#include <stdatomic.h>
void publish(_Atomic unsigned *counter, unsigned value)
{
    atomic_store_explicit(counter, value, memory_order_$order);
}
END
    done
    run -0 cmp "$BATS_TEST_TMPDIR"/{release,relaxed}.s
    ! built_with thread || skip 'ThreadSanitizer is not fooled'
    run -0 "$BIN/11-ring-buffer" --relaxed
    assert_line 'two threads, 256 slots, relaxed order'
    assert_equal "$(fact 'items in order')" '100000 of 100000'
}

# --- Every state of a small ring ----------------------------------------------------

# verify [OPTION]: have spin try everything that can happen in ring.pml.
verify() {
    cd "$BATS_TEST_TMPDIR" || return
    spin "$@" -a "$ROOT/chapters/11-ring-buffer/ring.pml"
    "${CC:-cc}" -o pan pan.c
    run -0 ./pan
}

# bats test_tags=deep
@test "spin: no state of the ring is wrong, and all of the model was reached" {
    command -v spin >/dev/null || skip 'spin is not installed'
    verify
    assert_line --regexp '^State-vector .*, errors: 0$'
    refute_output --partial 'Search not completed'
    refute_output --partial 'max search depth too small'
    # All but one state of each process, the end of a loop that has none.
    assert_equal "$(grep -c '^unreached in proctype' <<<"$output")" 2
    assert_equal "$(grep -c '"-end-"$' <<<"$output")" 2
    assert_equal "$(grep -c '(1 of [0-9]* states)$' <<<"$output")" 2
}

# bats test_tags=deep
@test "spin: each of the broken twins is found, by the right assertion" {
    command -v spin >/dev/null || skip 'spin is not installed'
    while read -r twin wrong; do
        verify "$twin"
        assert_line --regexp '^State-vector .*, errors: 1$'
        assert_line --regexp "^pan:1: assertion violated +$wrong"
        assert [ -s ring.pml.trail ]
    done <<'END'
-DTAIL_EARLY unread\[
-DHEAD_EARLY !\(unread\[
-DBITS=1 !\(unread\[
END
}
