#!/usr/bin/env bats
# 03 · Advice: WILLNEED starts the reads and tells nobody when they are done; and what
# advice brings into the cache, and keeps there.

setup() {
    load ../../common/test/helpers
    shared_file $((4 << 20)) small
    # The scratch file too goes to the disk of the test's own files.
    export TMPDIR=$BATS_TEST_TMPDIR/scratch
    mkdir "$TMPDIR"
    # So many pages 03-pages reads in order, if the file has them.
    MANY=$(((4 << 20) / PAGE < 256 ? (4 << 20) / PAGE : 256))
}

# fadvise [OPTION]...: run the lesson on $FILE. It must succeed, and say nothing on
# stderr.
fadvise() {
    run --separate-stderr in_time "$BIN/03-fadvise" "$@" "$FILE"
    assert_equal "$stderr" ''
    assert_success
}

# checksums [OPTION]...: is that of each pass 01's?
checksums() {
    local right
    right=$(checksum_of_01 "$@")
    assert_equal "$(fact checksum 1) $(fact checksum 2) $(fact checksum 3)" \
        "$right $right $right"
}

# pages: run 03-pages on $FILE.
pages() {
    run --separate-stderr in_time "$BIN/03-pages" "$FILE"
    assert_equal "$stderr" ''
    assert_success
}

# row TEXT: the number at the end of the line that begins so.
row() { sed -nE "s/^$1 .* ([0-9]+)\$/\1/p" <<<"${output?}"; }
came() { row "$1 +$2"; }
stays() { sed -nE "s/^$1 +[0-9]+ +([0-9]+)\$/\1/p" <<<"${output?}"; }

# need_readahead: skip where the disk of $FILE has been told never to read ahead.
need_readahead() {
    [[ $(read_ahead_kb) != 0 ]] || skip 'readahead is off for this disk: read_ahead_kb is 0'
}
read_ahead_kb() {
    cat "/sys/class/bdi/$(stat -c %Hd:%Ld "$FILE")/read_ahead_kb" 2>/dev/null
}

# size_of_file BYTES: a $FILE of that size.
size_of_file() { FILE=$(make_file "$1" other); }

# foreign_file: a $FILE that is not ours. Root may write to it all the same.
foreign_file() {
    FILE=/etc/passwd
    ((EUID == 0)) || return 0
    size_of_file 65536
    chown 65534 "$FILE"
}

# small_blocks: skip where a block of the file system is larger than a page.
small_blocks() {
    (($(stat -f -c %S "$FILE") <= PAGE)) ||
        skip 'blocks of this file system are larger than a page'
}

# inject WHAT PROGRAM [ARGUMENT]...
inject() {
    need_strace
    run --separate-stderr in_time strace -o /dev/null -e signal=none -e inject="$1" "${@:2}"
}

# --- Three passes -------------------------------------------------------------------

# bats test_tags=deeper
@test "all three passes read what 01 reads" {
    fadvise
    checksums
    [[ ${DEEP-} ]] || return 0
    fadvise -n 3 -s 128K --work 7
    checksums -n 3 -s 128K
}

# Of 230 runs of these two sizes, beside the work of others, 223 had just these numbers.
# Of 100 runs of a program that gives no advice, or gives it too late, none had.
# bats test_tags=deeper
@test "cold: a sleep for each block, at most two after advice, none after work" {
    need_cold
    for n in 8 ${DEEP:+5}; do
        for _ in {1..6}; do
            fadvise -n "$n" --work 20000
            assert_line --index 0 --partial ', cold: 0 of '
            plain=$(fact sleeps) in_turn=$(fact sleeps 2) together=$(fact sleeps 3)
            ((plain == n && in_turn <= 2 && together == 0)) || continue
            [[ $(fact 'sleeps in submit') == "$n" ]] || continue
            [[ $(fact 'sleeps in submit' 2) == 0 ]] || continue
            [[ $(fact 'sleeps in submit' 3) == 0 ]] || continue
            continue 2
        done
        fail "$n blocks: $plain sleeps without advice, $in_turn after it, $together after\
 work"
    done
}

# Of 90 runs, half of them beside two busy loops, 86 slept in both. Where the advice waits
# for its pages, none does.
@test "cold, no work: advice alone does not spare the thread all sleep" {
    need_cold
    for _ in {1..10}; do
        fadvise --work 0
        (($(fact sleeps 2) == 0 || $(fact sleeps 3) == 0)) || return 0
    done
    fail "$output"
}

# bats test_tags=deep
@test "warm: nobody sleeps, advised or not" {
    fadvise --warm 8
    for pass in 1 2 3; do
        assert_equal "$(fact sleeps $pass)" 0
    done
}

# In 10 of 10 runs, with a load of 12. With advice in pieces it slept in none of 10.
# bats test_tags=deep
@test "the rest of a block longer than the limit waits for its read: even together sleeps" {
    need_cold
    local limit
    limit=$(read_ahead_kb) || skip 'no limit of readahead is known for this file system'
    ((limit <= 8192)) || skip "the limit is $limit KiB"
    shared_file $((32 << 20)) huge
    for _ in {1..3}; do
        fadvise -n 2 -s 16M --work 100000
        assert [ "$(fact sleeps 3)" -gt 0 ]
    done
}

# letters: what the log says of $FILE, a letter a call: d for DONTNEED, w for WILLNEED, a
# for other advice, r for a read; and c for a process or thread that is made.
letters() {
    perl -ne 'BEGIN { $file = shift }
        print "c" if /^\d+ +(?:clone|fork|vfork)/;
        next unless index($_, "<$file>") >= 0;
        print /DONTNEED/ ? "d" : /WILLNEED/ ? "w" : /POSIX_FADV/ ? "a" : "r";' \
        "$FILE" "$STRACE_LOG"
}

# places CALL TEXT: the offsets of these calls.
places() {
    calls "$1" "<$FILE>" "$2" |
        perl -ne 'print "$1\n" if /65536, (\d+)\) = 65536/ || /, (\d+), 65536, POSIX/'
}

# The job reads the blocks once before the first pass, for the sake of its memory.
@test "strace: advice for all blocks, then the reads, of the same places; one thread" {
    need_strace
    strace_calls fadvise64,pread64,read,readv,preadv,preadv2,readahead,clone,clone3,fork,vfork \
        "$BIN/03-fadvise" "$FILE"
    assert_equal "$stderr" ''
    assert_success
    reads=rrrrrrrr
    assert_equal "$(letters)" "a${reads}d${reads}d${reads//r/w}${reads}d${reads//r/w}$reads"
    once=$(seq 0 524288 3670016)
    assert_equal "$(places fadvise64 WILLNEED)" "$once"$'\n'"$once"
    assert_equal "$(places pread64 '')" \
        "$once"$'\n'"$once"$'\n'"$once"$'\n'"$once"
}

# bars PASS: the main lane of that pass, from the trace: o for own work, a letter for each
# call.
bars() {
    perl -ne 'BEGIN { $pass = shift }
        print $1 eq "own" ? "o" : "c"
            if /"name":"(own|running|waits)[^"]*","pid":$pass,"tid":0,"ts"/' \
        "$1" "$BATS_TEST_TMPDIR/trace"
}

@test "each pass works once: before its reads, after them, between advice and reads" {
    fadvise --trace "$BATS_TEST_TMPDIR/trace"
    assert_line 'main: ▚ works on its own, no system call'
    calls=cccccccc
    assert_equal "$(bars 1) $(bars 2) $(bars 3)" "o$calls $calls${calls}o ${calls}o$calls"
}

# bats test_tags=deep
@test "the work is the same in each pass, and only together it is done in flight" {
    fadvise --work 700
    assert_equal "$(fact work) / $(fact work 2) / $(fact work 3)" "700 pieces, 0 with blocks\
 in flight / 700 pieces, 0 with blocks in flight / 700 pieces, 700 with blocks in flight"
}

# getrusage() belongs to the timeline.
# bats test_tags=deeper
@test "strace: together, the work makes no system call" {
    need_strace
    for pieces in ${DEEP:+0} 3000; do
        strace_calls all "$BIN/03-fadvise" --work "$pieces" "$FILE"
        assert_success
        run -0 perl -ne '$n++ if /WILLNEED/;
            print "$1\n" if $n == 16 && !/WILLNEED/ && /^\d+ +(\w+)\(/;
            exit if $n == 16 && /pread64/' "$STRACE_LOG"
        assert_output "$(printf '%s\n' getrusage getrusage pread64)"
    done
}

# --- Short, interrupted, refused ------------------------------------------------------

# bats test_tags=deep
@test "a short read is finished, and one that a signal interrupts is made again" {
    need_strace
    strace_short pread64 "$BIN/03-fadvise" -s 64K "$FILE"
    assert_success
    checksums
    # A page of each block is missing, in each of three passes and before.
    assert_equal "$(count_calls pread64 "<$FILE>" ', 61440, ')" 32

    run --separate-stderr strace -o /dev/null -P "$FILE" -e signal=none \
        -e inject=pread64:error=EINTR:when=15..40+3 "$BIN/03-fadvise" "$FILE"
    assert_equal "$stderr" ''
    assert_success
    checksums
}

# The first five calls ask whether there is advice at all, switch readahead off, and drop
# the pages before each of the first two passes; the fifth is the first WILLNEED.
# bats test_tags=deeper
@test "advice that is refused is an error: of which file, where, and why" {
    for nth in 5 ${DEEP:+7}; do
        inject fadvise64:error=EINVAL:when="$nth" "$BIN/03-fadvise" "$FILE"
        assert_equal "$stderr" "03-fadvise: giving advice on $FILE at byte\
 $(((nth - 5) * 524288)): Invalid argument"
        assert_equal "$status" 1
    done
}

# bats test_tags=deep
@test "an error names the file and the place" {
    need_strace
    run --separate-stderr strace -o /dev/null -P "$FILE" -e signal=none \
        -e inject=pread64:error=EIO:when=18 "$BIN/03-fadvise" "$FILE"
    assert_equal "$stderr" \
        "03-fadvise: reading $FILE at byte 524288: Input/output error"
    assert_equal "$status" 1
}

# bats test_tags=deep
@test "a kernel built without advice is named, with status 77" {
    for program in 03-fadvise 03-pages; do
        for check in '' --check; do
            inject fadvise64:error=ENOSYS "$BIN/$program" $check
            assert_equal "$status" 77
            assert_regex "$stderr" "^$program: .*CONFIG_ADVISE_SYSCALLS\$"
            assert_equal "$output" ''
        done
    done
}

# --- 03-pages: what comes in ------------------------------------------------------------

# The kernel may take back a page before it is counted: in none of 100 runs here, but
# where DAMON reclaims memory now and then.
@test "one page in the middle is one page, and RANDOM brings what is read, no more" {
    need_cold
    small_blocks
    for _ in {1..5}; do
        pages
        assert_line --index 0 "pages looked at: $(((4 << 20) / PAGE))"
        refute_output --partial 'stay cached'
        if [[ $(came none 'the middle +1') == 1 &&
            $(came RANDOM "the start +$MANY") == "$MANY" ]]; then
            return 0
        fi
    done
    fail "$output"
}

# With SEQUENTIAL the steps may grow longer. On ext4, where the limit is 8192 KiB and pages
# have 4 KiB, that makes a difference within these pages. Btrfs reads ahead in another way,
# and overlayfs gives the advice to the file below.
@test "from the start the kernel brings in more than is read, with SEQUENTIAL even more" {
    need_cold
    need_readahead
    shared_file $((16 << 20)) big
    for _ in {1..5}; do
        pages
        none=$(came none "the start +$MANY")
        sequential=$(came SEQUENTIAL "the start +$MANY")
        (($(came none 'the start +1') > 1 && none > MANY)) || continue
        ((sequential > MANY)) || continue
        [[ "$PAGE $(read_ahead_kb) $(stat -f -c %T "$FILE")" != '4096 8192 ext2/ext3' ]] ||
            ((sequential > none)) || continue
        return 0
    done
    fail "$output"
}

# bats test_tags=deep
@test "of a long file the first 64 MiB are looked at" {
    size_of_file $((65 << 20))
    pages
    assert_line --index 0 "pages looked at: $(((64 << 20) / PAGE))"
}

# bats test_tags=deep
@test "a small file: all of it is read, and counted to its last page" {
    need_cold
    small_blocks
    size_of_file $((9 * PAGE + 1))
    for _ in {1..5}; do
        pages
        assert_line --index 0 'pages looked at: 10'
        [[ $(came RANDOM 'the start +10') != 10 ]] || return 0
    done
    fail "$output"
}

# force_page_cache_ra(): the limit is the readahead, or the largest request if that is
# more. A partition has no queue; its disk has. In 120 of 120 runs, half of them beside
# two busy loops, it was the limit.
@test "one WILLNEED brings in pages that nobody reads, up to the limit of the device" {
    need_cold
    local limit most sys came
    shared_file $((16 << 20)) big
    limit=$(read_ahead_kb) || skip 'no limit of readahead is known for this file system'
    sys=$(realpath "/sys/dev/block/$(stat -c %Hd:%Ld "$FILE")") || skip 'no block device'
    [[ -e $sys/queue ]] || sys=${sys%/*}
    most=$(cat "$sys/queue/max_sectors_kb") || skip 'no limit of a request is known'
    ((limit > most)) || limit=$most
    ((limit < 16384)) || limit=16384
    for _ in {1..5}; do
        pages
        came=$(came WILLNEED 'nowhere +0')
        ((came != limit * 1024 / PAGE)) || return 0
    done
    assert_equal "$came" $((limit * 1024 / PAGE))
}

@test "strace: each trial opens the file anew, gives its own advice alone, and looks again" {
    need_strace
    strace_calls openat,fadvise64,pread64,nanosleep,clock_nanosleep,close \
        "$BIN/03-pages" "$FILE"
    assert_equal "$stderr" ''
    assert_success
    run -0 perl -ne 'BEGIN { $file = shift }
        print "open" if /openat.*"\Q$file\E"/;
        $sleeps++ if /nanosleep\(/;
        next unless index($_, "<$file>") >= 0;
        print " $1" if /fadvise64\(.*, 0, 0, POSIX_FADV_(\w+)\) = 0$/;
        $reads++ if /pread64/;
        $first //= $1 if /pread64\(.*, (\d+)\) = 1$/;
        next unless /close/;
        print $reads ? " $reads from $first" : "", $sleeps ? ", looks again" : "", "\n";
        $reads = $sleeps = 0;
        $first = undef' "$FILE" "$STRACE_LOG"
    assert_output "open RANDOM DONTNEEDopen DONTNEED 1 from 2097152, looks again
open DONTNEED 1 from 0, looks again
open DONTNEED $MANY from 0, looks again
open DONTNEED SEQUENTIAL $MANY from 0, looks again
open DONTNEED RANDOM $MANY from 0, looks again
open DONTNEED WILLNEED, looks again"
}

# On tmpfs no page comes and none goes, so each count has another value than on a disk.
# bats test_tags=deep
@test "on tmpfs nothing comes in, and nothing goes" {
    [[ $(stat -f -c %T /dev/shm) == tmpfs ]] || skip '/dev/shm is no tmpfs'
    copy=$(mktemp /dev/shm/in-circles.XXXXXX)
    cp "$FILE" "$copy"
    TMPDIR=/dev/shm run --separate-stderr "$BIN/03-pages" "$copy"
    rm "$copy"
    assert_equal "$stderr" ''
    all=$(((4 << 20) / PAGE)) written=$(((1 << 20) / PAGE))
    assert_line --index 0 "pages looked at: $all"
    assert_line --index 1 "($all of them stay cached: dirty, mapped, or on tmpfs)"
    assert_equal "$(sed -nE 's/^(none|SEQ|RAN|WILL).* ([0-9]+)$/\2/p' <<<"$output" | sort |
        uniq -c | xargs)" '6 0'
    assert_equal "$(tail -n 3 <<<"$output" | awk '{ print $(NF - 1), $NF }' | sort -u)" \
        "$written $written"
}

# bats test_tags=deep
@test "pages of a file that is not ours are unknown, and it says why" {
    foreign_file
    inject faccessat2:error=EACCES "$BIN/03-pages" "$FILE"
    assert_equal "$stderr" ''
    assert_success
    assert_line --index 1 --partial '(unknown: mincore() tells of files that you own'
    assert_equal "$(grep -cE '^(none|SEQUENTIAL|RANDOM|WILLNEED) .* unknown$' <<<"$output")" 6
    assert_equal "$(stays 'write, fsync, DONTNEED')" 0
}

# --- 03-pages: what stays -----------------------------------------------------------------

# That dirty pages stay is for the file system to decide. But where some stay, the fsync
# after the advice makes none of them go.
@test "DONTNEED leaves dirty pages, even after an fsync; before it comes an fsync, and all go" {
    need_cold
    for _ in {1..5}; do
        pages
        assert_equal "$(stays 'write, fsync, DONTNEED')" 0
        stay=$(stays 'write, DONTNEED')
        assert_equal "$(stays 'write, DONTNEED, fsync')" "$stay"
        ((stay != (1 << 20) / PAGE)) || return 0
    done
    fail "$output"
}

# bats test_tags=deep
@test "strace: the advice comes before the fsync, then after it, and nothing else is asked" {
    need_strace
    strace_calls pwrite64,fadvise64,sync_file_range,fsync,fdatasync,sync "$BIN/03-pages" "$FILE"
    assert_equal "$stderr" ''
    assert_success
    run -0 perl -ne 'BEGIN { $folder = shift }
        next unless index($_, "<$folder/") >= 0;
        print "$1\n" if /^\d+ +(\w+)\(/' "$TMPDIR" "$STRACE_LOG"
    assert_output "$(printf '%s\n' pwrite64 fadvise64 fsync pwrite64 fsync fadvise64)"
    assert_equal "$(count_calls fadvise64 "<$TMPDIR/" ', 0, 0, POSIX_FADV_DONTNEED) = 0')" 2
}
