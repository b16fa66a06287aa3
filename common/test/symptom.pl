#!/usr/bin/perl
#
# symptom.pl: what a program does wrong, in a few lines.
#
#     symptom.pl brief LOG            what bats said of a test that failed, without bats
#     symptom.pl compare NOW RIGHT... what a program prints now, and what it should
#     symptom.pl differ BUG... -- RIGHT...   exit 0 if what they print differs
#
# Outputs differ from run to run in their times, and more. So there are several of the
# right program, and what differs among those says nothing.
#
# Nothing here needs more of Perl than Debian's perl-base has.
use strict;
use warnings;
use utf8;
binmode(STDOUT, ':utf8');

sub lines {
    my ($file) = @_;
    open(my $in, '<:utf8', $file) or die "symptom.pl: $file: $!\n";
    no warnings 'utf8';
    my @lines = <$in>;
    s/[\r\n]+$// for @lines;
    s/[^\x20-\x{10ffff}]/?/g for @lines;
    return @lines;
}

# In 80 columns, with what stands before it: folders of a path first, which say nothing
# here, then gaps of a table, then the end.
sub cut {
    my ($line) = @_;
    $line =~ s{(?<![\w.])/(?:[^/\s]+/)+(?=[^/\s])}{.../}g if length($line) > 74;
    $line =~ s/(?<=\S) {3,}/  /g if length($line) > 74;
    return length($line) > 74 ? substr($line, 0, 71) . '...' : $line;
}

# Of two lines that are alike for long, what is around the first difference.
sub apart {
    my @lines = @_;
    my ($one, $other) = map { s/(?<=\S) {3,}/  /gr } @lines;
    return @lines if grep { length($_) <= 54 } $one, $other;
    my $same = 0;
    $same++ while substr($one, 0, $same + 1) eq substr($other, 0, $same + 1);
    return @lines if $same < 40;
    return map { '...' . substr($_, $same - 20) } $one, $other;
}

# first_difference: of "it should print:" and "it prints:" with some lines each, the
# lines from where they differ.
sub first_difference {
    my @said = @_;
    my ($at) = grep { $said[$_] =~ /^it (?:prints|is): $/ } 1 .. $#said;
    return @said if !$at || $said[0] !~ /^it should (?:print|be): $/;
    my @right = @said[1 .. $at - 1];
    my @now = @said[$at + 1 .. $#said];
    my $same = 0;
    $same++ while $same < @right && $same < @now && $right[$same] eq $now[$same];
    for my $lines (\@right, \@now) {
        splice(@$lines, 0, $same, $same ? '  ...' : ());
        splice(@$lines, 3, @$lines - 3, '  ...') if @$lines > 4;
    }
    return ($said[0], @right, $said[$at], @now);
}

# What bats-assert calls things, by the headings of its reports.
my %words = (
    'values do not equal' => {expected => 'it should be', actual => 'it is'},
    'output differs' => {expected => 'it should print', actual => 'it prints'},
    'output does not contain line' =>
        {line => 'it should print', output => 'it prints'},
    'no output line matches regular expression' =>
        {regexp => 'it should print', output => 'it prints'},
    'no output line contains substring' =>
        {substring => 'it should print', output => 'it prints'},
    'output does not contain substring' =>
        {substring => 'it should print', output => 'it prints'},
    'line differs' => {expected => 'it should print', actual => 'it prints'},
    'command failed' => {status => 'it ends with status', output => 'it prints'},
    'command succeeded, but it was expected to fail' => {output => 'it prints'},
    'output non-empty, but expected no output' => {output => 'it prints'},
);

# What a line is about: "total: " of "total: 1.2 ms", else all but its numbers.
sub about {
    my ($line) = @_;
    return $1 if $line =~ /^([^:]{1,60}: )/;
    return $line =~ s/\d+(?:\.\d+)?/N/gr;
}

sub brief {
    my (@said, @output, @stderr);
    my ($failed, $names, $to) = ('', {}, \@said);
    for my $line (lines($_[0])) {
        next if $line !~ s/^# ?//;
        if ($line =~ /^it never (?:ends|stops)/) {
            push @said, $line;
        } elsif ($line =~ /^Last (output|stderr): *$/) {
            $to = $1 eq 'output' ? \@output : \@stderr;
        } elsif ($to != \@said) {
            push @$to, $line;
        } elsif ($line =~ /^ *`(.*)' failed/) {
            $failed ||= $1;
        } elsif ($line =~ /^-- (.*) --$/) {
            $names = $words{$1} // {};
        } elsif ($line =~ /^(\w+) *(?:\(\d+ lines\))? *:(?: (.*))?$/ && $names->{$1}) {
            push @said, "$names->{$1}: " . ($2 // '');
        } elsif ($line !~ /^index +: /
            && $line !~ /^\(?(?:from function| *in (?:test )?file)/
            && $line !~ /^--$/ && $line !~ /^\s*$/) {
            push @said, $line;
        }
    }
    # Of a whole output, what is about the line that is missing.
    if (@said > 3 && $said[0] =~ /^it should print: (.*)/ && $said[1] eq 'it prints: ') {
        my $about = about($1);
        my @same = grep { about($_) eq $about } map { s/^ +//r } @said[2 .. $#said];
        splice(@said, 1, @said - 1, map { "it prints: $_" } @same) if @same;
    }
    @said = first_difference(@said);
    # A test may say nothing but that a program has failed. That has said why.
    push @said, 'it prints:', @output[0 .. ($#output < 5 ? $#output : 5)]
        if !@said && @output;
    push @said, "this fails: $failed" if !@said && !@stderr && $failed;
    splice(@said, 10, @said - 10, '...') if @said > 11;
    @said = grep { !/^it should be: *$/ } @said;
    # A test that compares stderr has said this already.
    my %is = map { /^it is: (.*)/ ? ($1 => 1) : () } @said;
    @said = grep { !$is{$_} } @said;
    push @said, "it says: $stderr[0]" if @stderr && !grep { $_ eq "it is: $stderr[0]" } @said;
    print cut($_), "\n" for @said;
}

sub is_drawing { $_[0] =~ /^(?:main|ticks|block +\d+) |^ +0 .* ms$|^\s*$/ }

sub compare {
    my ($file, @others) = @_;
    my @now = grep { !is_drawing($_) } lines($file);
    if (!@others) {
        splice(@now, 8, @now - 8, '...') if @now > 9;
        print cut($_), "\n" for @now;
        return;
    }
    # What each run of the right program has to say of something, and in how many
    # ways it said so.
    my (%right, %ways, @order);
    for my $other (@others) {
        my %here;
        for my $line (grep { !is_drawing($_) } lines($other)) {
            push @order, about($line) if !$right{about($line)} && !$here{about($line)};
            push @{$here{about($line)}}, $line;
        }
        for my $about (keys %here) {
            $right{$about} = $here{$about};
            $ways{$about}{join("\n", @{$here{$about}})}++;
        }
    }
    my (%now, @said, @extra, %seen);
    push @{$now{about($_)}}, $_ for @now;
    for my $about (map { about($_) } @now) {
        next if $seen{$about}++;
        my $here = join("\n", @{$now{$about}});
        my $ways = $ways{$about};
        if (!$ways) {
            push @extra, @{$now{$about}};
        } elsif (keys %$ways == 1 && !$ways->{$here}) {
            my @lines = @{$right{$about}};
            for my $i (0 .. $#{$now{$about}}) {
                my ($is, $be) = ($now{$about}[$i], $lines[$i] // 'nothing there');
                next if $is eq $be;
                ($is, $be) = apart($is, $be);
                push @said, cut("it prints:        $is"), cut("it should print:  $be");
            }
        }
    }
    my @missing = map { $right{$_}[0] }
        grep { !$now{$_} && keys %{$ways{$_}} == 1 && !/^\(exit status/ } @order;
    # One that fails, or is stopped, has no chance to print the rest.
    @missing = () if grep { /^\((?:exit status|it never)/ } @now;
    ($extra[0], $missing[0]) = apart($extra[0], $missing[0]) if @extra == 1 && @missing == 1;
    push @said, map { cut(/^\((?:exit status|it never)/ ? $_ : "it prints:        $_") } @extra;
    push @said, map { cut("it doesn't print: $_") } @missing;
    splice(@said, 10, @said - 10, '...') if @said > 11;
    print "$_\n" for @said;
}

# Is there a line that all runs of the one have, and no run of the other?
sub differ {
    my (@bug, @right);
    my $to = \@bug;
    for my $file (@_) {
        if ($file eq '--') {
            $to = \@right;
            next;
        }
        my %has = map { $_ => 1 } lines($file);
        push @$to, \%has;
    }
    for my $pair ([\@bug, \@right], [\@right, \@bug]) {
        my ($ones, $others) = @$pair;
        for my $line (keys %{$ones->[0]}) {
            next if grep { !$_->{$line} } @$ones;
            return 1 if !grep { $_->{$line} } @$others;
        }
    }
    return 0;
}

my $mode = shift @ARGV // '';
if ($mode eq 'brief') {
    brief(@ARGV);
} elsif ($mode eq 'compare') {
    compare(@ARGV);
} elsif ($mode eq 'differ') {
    exit !differ(@ARGV);
} else {
    die "usage: symptom.pl brief|compare|differ FILE...\n";
}
