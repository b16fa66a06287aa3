#!/usr/bin/perl
#
# normalize.pl: take out of a program's output what differs from machine to
# machine and from run to run, so that what is left must be the same. A filter;
# texts.pl has it from here, too.
#
# These are all the rules. What is not named here must be equal to the letter:
# the checksum above all, since the sample file is the same on every machine.
use strict;
use warnings;
use utf8;

# Give it the whole output, or an expected one.
sub normalize {
    my ($text) = @_;
    my $glyph = '[█▓▒░▚◆━·#=.+*-]'; # In UTF-8, and in plain ASCII.

    for ($text) {
        # Lanes: the label stays, the bars go.
        my $passes = 'plain|in turn|together|liburing|fsync|O_DSYNC|cold pa(?:ge|rt)';
        s/^(main|ticks|block \d+|$passes) +(?:$glyph| )*$/$1/mg;

        # Times and shares of them. (A share of nothing can't be told.)
        s/\(share unknown\)/(N%)/g;
        s/\d+(?:\.\d+)? (ms|us|ns|s)\b/N $1/g;
        s/\d+(?:\.\d+)?%/N%/g;

        # How often the main thread slept, and in which order results came.
        s/^(sleeps in submit: ).*/$1N/mg;
        s/^(sleeps: )\d+$/$1N/mg;
        # A call that a signal ends is made again.
        s/^(calls: )\d+( to submit, )\d+( to wait)$/$1N$2N$3/mg;

        # Own work is a fixed amount. How much of it was done while blocks were in
        # flight is up to the disk, and to whoever looks on.
        s/^(work: \d+ pieces, )\d+( with blocks in flight)$/$1N$2/mg;
        # So are the sleeps of 02. Its pages are not.
        s/^((?:fsync|O_DSYNC|cold pa(?:ge|rt)) +)\d+ +(?:\d+|-)(?= +\d+ +(?:\d+|-)$)/$1N N/mg;
        s/^(sleeps of the workers: )\d+$/$1N/mg;
        s/^([^:\n]*\border\b[^:\n]*: )[\d ,.]+$/$1N/mg;

        # How many ticks came at once says how long a loop stood still, and that is a
        # time. Whether a call slept is for the chapter's test to say: under strace each
        # call does.
        s/^((?:before the read|the first after it|all later ones) +N ms +)\d+$/$1N/mg;
        s/^((?:epoll_ctl, add|poll, timeout 0|read, (?:O_NONBLOCK|RWF_NOWAIT)) .* )\d+$/$1N/mg;
        # A fast disk may be done before RWF_NOWAIT looks, and then more comes at once.
        s/^(half of it cached: )\d+( bytes now)/$1N$2/mg;
        s/^(\d+ +)\d+( bytes +\d+ +\d+ bytes)$/$1N$2/mg;

        # Fewer than all is the claim. How many exactly is a matter of luck.
        s{^(completed: )(\d+) in submit, (\d+) in wait, (\d+) at work, (\d+) between$}
         {my $all = $2 + $3 + $4 + $5;
          $1 . ($2 < $all ? 'fewer than' : 'all') . " $all in submit"}mge;

        # How many pages of a file the kernel has brought in by now is for it to
        # decide, and so is whether it keeps dirty ones.
        s/^((?:none|SEQUENTIAL) +the start +\d+ +)\d+$/$1N/mg;
        s/^(WILLNEED +nowhere +0 +)\d+$/$1N/mg;
        s/^(write, DONTNEED(?:, fsync)? +\d+ +)\d+$/$1N/mg;

        # How many ticks a loop gets to is up to the scheduler. That it gets to none is a
        # claim.
        s/^(ticks (?:handled|during the reads): )[1-9]\d*$/$1N/mg;

        # What a hand-over costs is up to the scheduler: 05. So is how many threads get to
        # read at once.
        s/^((?:the loop reads|a thread reads) +N us +)[\d.]+$/$1N/mg;
        s/^(pool +0 +N ms\n(?:.*\n)*?most in flight: )\d+$/$1N/mg;

        # How O_DIRECT must be aligned is up to the disk. Whether a request
        # slept, and was complete by then, is for the chapter's test to say.
        s/^(alignment: ).*/$1N/mg;
        s/^((?:read|write)(?: +\d+){3}) +\d+ +(?:yes|no) /$1 N N /mg;

        # So are the requests in flight at once, where a submit does not wait.
        s/^(singly (?:.*\n)*?most in flight: )\d+((?:\n.*){4}: fewer than)/$1N$2/mg;

        # How many of the workers get to read at once is up to the scheduler, and so is how
        # many blocks are handed over by then, and how often somebody sleeps in one round.
        s/^((?:plain|advised) +0 +N ms\n(?:.*\n)*?most in flight: )\d+$/$1N/mg;
        s/^((?:one by one|advice|four threads|four processes) \(0\d\) +\d+ ).*/$1N/mg;

        # How many of glibc's threads get to work at once is up to the scheduler,
        # how many idle ones it keeps, and how many are done before main goes on.
        # With one descriptor, one at once is a claim.
        s/^(many fds (?:.*\n)*?most in flight: )\d+$/$1N/mg;
        s/^((?:one fd|many fds) (?:.*\n)*?threads: )\d+$/$1N/mg;
        s/^((?:one fd|many fds) (?:.*\n)*?submit returned: ).*$/$1N/mg;

        # Where the kernel puts the fields of a ring is its own affair.
        s/^ *\d+ \| /N | /mg;
        s/^(both rings, .*|[SC]Q ring, .*): \d+ bytes$/$1: N bytes/mg;

        # How much a splice has moved when it has to wait is up to the kernel.
        s/^( *\d+ +splice, pipe [^:\n]*? +)\d+( +bytes moved)$/$1N$2/mg;
        s/^( *at the far end: )\d+(, still in the pipe: )\d+$/$1N$2N/mg;

        # Rarely it has stopped before the kernel has looked: once more, then.
        s/^( *tries: )\d+$/$1N/mg;

        # Completions that come together are taken together.
        s/^((?:cold|warm) +N ms +)\d+( calls)/$1N$2/mg;
        s/^(read and written of it: .*, in )\d+( calls)/$1N$2/mg;
        s/^(pages cached before the cold copies: )\d+$/$1N/mg;
        s/^(threads of the kernel's: )\d+$/$1N/mg;

        # What an option buys is up to the machine. How many calls it saves is a
        # claim; but a poller that has to wait for a processor is waited for.
        s/^((?:\d+ at a time|\+ [^:\n]*?) +)\d+ +[\d.]+( +[\d.]+) +[\d.]+$/$1N N$2 N/mg;
        s/^(SQPOLL +)\d+(?: +[\d.]+){3}$/$1N N N N/mg;
        s/^(IOPOLL ).*$/$1N/mg;

        # A race is about numbers. How many were in flight is a claim (of threads,
        # one may come too late), and how many calls those make that read one
        # block with one.
        my $engine = '(?:read|advise|threads|posix-aio|io-submit|liburing|uring)[a-z-]*';
        s/^($engine +)\d+ +\d+ %[ █=]+[\d.]+ +(\d+)$/$1N, $2 in flight/mg;
        s/^(threads +N, )\d+/$1N/mg;
        s/^((?:read|advise|threads|posix-aio) +)(?:[\d.]+ +){3}([\d.]+) +[\d.]+$/$1N, $2 calls/mg;
        s/^($engine +)(?:[\d.]+ +){3}([\d.]+) +[\d.]+$/$1N/mg;
        s/^($engine)(?: +(?:[\d.]+|-)){6}$/$1 N/mg;
        s/^(cached when a heat begins: )\d+/$1N/mg;

        # How many programs there are is up to what is built, and so is whether those of
        # 15 to 19 are, which need liburing.
        s/^(This machine can show (?:all )?)\d+(?: of \d+)?( programs\.)$/$1N$2/mg;
        s{^(missing: (?:.*\n)+?)(?=because: )}
         {my $names = $1;
          $names =~ s/\s+/ /g;
          $names =~ s/,? 1[5-9]-[a-z-]+//g;
          "$names\n"}mge;

        # The columns that the numbers above stood in.
        s/[ ]+$//mg;
        s/(?<=\S)[ ]{2,}/ /g;
    }
    return $text;
}

if (!caller) {
    local $/;
    binmode($_, ':utf8') for *STDIN, *STDOUT;
    print normalize(<STDIN> // '');
}
1;
