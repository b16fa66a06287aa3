#!/usr/bin/perl
#
# texts.pl: what texts.bats asks about the texts. Prints each problem as
# FILE:LINE: what it is, and exits 1 when there is one.
#
#     texts.pl parts README SOURCE    title, the seven parts, questions and answers
#     texts.pl code README SOURCE...  every c block stands in a source
#     texts.pl console README         every console block is run and compared
#     texts.pl links ROOT FILE...     every relative link leads somewhere
#     texts.pl table README FOLDER... the table of chapters has them all
#
# Nothing here needs more of Perl than Debian's perl-base has.
use strict;
use warnings;
use utf8;
use Cwd qw(abs_path);
use File::Basename qw(basename dirname);

require(dirname(abs_path(__FILE__)) . '/normalize.pl');
binmode($_, ':utf8') for *STDOUT, *STDERR;

my $problems = 0;

sub problem {
    my ($file, $line, $what) = @_;
    print "$file:$line: $what\n";
    $problems++;
}

sub slurp {
    my ($file) = @_;
    local $/;
    open(my $in, '<:utf8', $file) or die "texts.pl: $file: $!\n";
    return <$in> // '';
}

# --- Markdown -----------------------------------------------------------------

# The fenced blocks of a text: [language, line, lines...]. And the lines that
# are in none; the others are emptied, so that the numbers stay.
sub parse {
    my ($file) = @_;
    my (@blocks, @prose, $block, $indent, $fence);
    my $number = 0;

    for my $line (split(/\n/, slurp($file), -1)) {
        $number++;
        push @prose, $block ? '' : $line;
        if (!$block && $line =~ /^([ ]*)(```+|~~~+)[ ]*(.*?)[ ]*$/) {
            ($indent, $fence) = ($1, $2);
            push @blocks, $block = [$3, $number];
        } elsif ($block && $line =~ /^[ ]*\Q$fence\E[ ]*$/) {
            undef $block;
        } elsif ($block) {
            # As Markdown has it: a block in a list loses the list's indent.
            $line =~ s/^ // for 1 .. length($indent);
            push @$block, $line;
        }
    }
    problem($file, $block->[1], 'this block has no end') if $block;
    return (\@blocks, \@prose);
}

# The name that a heading gets on GitHub.
sub anchor {
    my ($heading) = @_;
    $heading =~ s/\[([^\]]*)\]\([^)]*\)/$1/g;
    $heading = lc($heading);
    $heading =~ s/[^\w\- ]//g;
    $heading =~ tr/ /-/;
    return $heading;
}

sub anchors {
    my ($file) = @_;
    my (undef, $prose) = parse($file);
    my (%anchors, %times);

    for (@$prose) {
        /^#+ +(.*?) *#*$/ or next;
        my $name = anchor($1);
        my $times = $times{$name}++;
        $anchors{$times ? "$name-$times" : $name} = 1;
    }
    return \%anchors;
}

# --- parts: a title and seven parts --------------------------------------------

# The first part, the question, has no heading: it stands below the title.
my @parts = ('Run it', 'How it works', 'What to notice',
    'Where people trip', 'Try it', 'Going on');

sub check_parts {
    my ($readme, $source) = @_;
    my ($blocks, $prose) = parse($readme);
    my ($title) = $prose->[0] =~ /^# (.+)/;
    my ($said) = slurp($source) =~ m{\A/\*\n \* (.+)\n};
    my $number = substr(basename(dirname(abs_path($readme))), 0, 2);

    if (!defined $title) {
        problem($readme, 1, 'does not begin with a title');
    } else {
        problem($readme, 1, "the title is not '# $number · ...'")
            if $title !~ /^\Q$number\E · \S/;
        $title =~ tr/`//d;
        problem($source, 2, 'the title is not ' . ($said // 'there')
                . ", as in the text: $title")
            if !defined $said || $said ne $title;
    }

    my @found = (['the question', 1]);
    my @length = (0);
    for my $i (1 .. $#$prose) {
        if ($prose->[$i] =~ /^#{1,2} +(.*)/) {
            push @found, [$1, $i + 1];
            push @length, 0;
        } else {
            $length[-1] += $prose->[$i] =~ /\S/;
        }
    }
    # One part more, where there is something to be said in it.
    my @optional = grep { $found[$_][0] eq 'When this does not help' } 1 .. $#found;
    for my $i (@optional) {
        problem($readme, $found[$i][1],
            "'$found[$i][0]' is to stand after 'Where people trip'")
            if $found[$i - 1][0] ne 'Where people trip';
        problem($readme, $found[$i][1], "nothing is said in '$found[$i][0]'")
            if !$length[$i];
    }
    for my $i (reverse @optional) {
        splice(@found, $i, 1);
        splice(@length, $i, 1);
    }
    for my $i (0 .. $#parts) {
        my $there = $found[$i + 1];
        next if $there && $there->[0] eq $parts[$i];
        problem($readme, $there ? $there->[1] : scalar(@$prose),
            "part " . ($i + 2) . " is to be '## $parts[$i]'"
                . ($there ? ", not '$there->[0]'" : ', and is missing'));
        last;
    }
    problem($readme, $found[@parts + 1][1], 'is a part too many')
        if @found > @parts + 1;
    for my $i (0 .. $#found) {
        problem($readme, $found[$i][1], "nothing is said in '$found[$i][0]'")
            if !$length[$i];
    }

    check_asides($readme, $prose);
    check_answers($readme, $prose);
    check_questions($readme, $prose, $found[1] ? $found[1][1] : scalar(@$prose));

    # A block without a known name would escape the checks below.
    for my $block (@$blocks) {
        problem($readme, $block->[1], "a block of '$block->[0]': name it c, "
                . 'console, sh, text, diff or json')
            if $block->[0] !~ /^(?:c|console|sh|text|diff|json)$/;
    }
    for my $language ('c', 'console') {
        problem($readme, 1, "has no $language block")
            if !grep { $_->[0] eq $language } @$blocks;
    }
}

# An expert's objection: a quote block, which says so.
sub check_asides {
    my ($readme, $prose) = @_;
    for my $i (0 .. $#$prose) {
        problem($readme, $i + 1, "a quote block begins with '> **Aside.**'")
            if $prose->[$i] =~ /^>/ && ($i == 0 || $prose->[$i - 1] !~ /^>/)
            && $prose->[$i] !~ /^> \*\*Aside\.\*\* \S/;
    }
}

# A folded answer, as GitHub needs it to read Markdown inside:
#
#     <details><summary>Answer</summary>
#
#     Eight.
#
#     </details>
sub check_answers {
    my ($readme, $prose) = @_;
    my $open;
    for my $i (0 .. $#$prose) {
        my $line = $prose->[$i];
        if ($line =~ /<details/) {
            problem($readme, $i + 1, "an answer begins with a line "
                    . "'<details><summary>...</summary>', and a blank one")
                if $line !~ m{^ *<details><summary>[^<]+</summary>$}
                || ($prose->[$i + 1] // '') ne '';
            problem($readme, $open, 'this answer has no end') if $open;
            $open = $i + 1;
        } elsif ($line =~ m{</details>}) {
            problem($readme, $i + 1, "an answer ends with a blank line, and "
                    . "'</details>' on one of its own")
                if !$open || $line !~ m{^ *</details>$} || $prose->[$i - 1] ne '';
            undef $open;
        }
    }
    problem($readme, $open, 'this answer has no end') if $open;
}

# Who predicts wants to know: on a page with **Predict.** there are one to three
# questions, at the end of the first part; and each item of Try it that asks has its
# answer, folded.
sub check_questions {
    my ($readme, $prose, $end) = @_;
    my ($at) = grep { $prose->[$_] =~ /^\*\*Predict\.\*\*/ } 0 .. $#$prose;
    return if !defined $at;
    my $asked = () = join("\n", @$prose[$at .. $end - 2]) =~ /\?/g;
    problem($readme, $at + 1, 'Predict belongs to the first part') if $at > $end;
    problem($readme, $at + 1, "Predict asks $asked questions, not 1 to 3")
        if $at < $end && ($asked < 1 || $asked > 3);

    my ($try) = grep { $prose->[$_] eq '## Try it' } 0 .. $#$prose;
    return if !defined $try;
    my ($item, $asks, $answered);
    my $judge = sub {
        problem($readme, $item, 'this asks, and has no folded answer')
            if $item && $asks && !$answered;
    };
    for my $i ($try + 1 .. $#$prose) {
        last if $prose->[$i] =~ /^## /;
        if ($prose->[$i] =~ /^(?:-|\d+\.) /) {
            $judge->();
            ($item, $asks, $answered) = ($i + 1, 0, 0);
        }
        $answered = 1 if $prose->[$i] =~ /<details>/;
        $asks = 1 if !$answered && $prose->[$i] =~ /\?(?:\s|$)/;
    }
    $judge->();
}

# --- code: quoted word for word ---------------------------------------------------

sub check_code {
    my ($readme, @sources) = @_;
    my ($blocks) = parse($readme);
    my @texts = map { "\n" . slurp($_) } @sources;

    for my $block (grep { $_->[0] eq 'c' } @$blocks) {
        my (undef, $line, @lines) = @$block;
        my $code = "\n" . join("\n", @lines) . "\n";
        if (join('', @lines) !~ /\S/) {
            problem($readme, $line, 'this c block is empty');
            next;
        }
        next if grep { index($_, $code) >= 0 } @texts;

        # Which line is it? The first one with which it stands nowhere.
        my $n = 0;
        $n++
            while $n < $#lines && grep {
            index($_, "\n" . join("\n", @lines[0 .. $n]) . "\n") >= 0
            } @texts;
        problem($readme, $line + 1 + $n,
            'stands in no source of the chapter: ' . $lines[$n]);
    }
}

# --- console: run and compared ------------------------------------------------------

# What the text shows, as a pattern: `...` is any text within a line, and any
# lines where it stands alone.
sub pattern {
    my ($expected) = @_;
    my $pattern = '';

    for my $line (split(/\n/, $expected)) {
        if ($line eq '...') {
            $pattern .= '(?:.*\n)*?';
        } else {
            $pattern .= join('.*', map { quotemeta } split(/\.\.\./, $line, -1));
            $pattern .= '\n';
        }
    }
    return qr/\A$pattern\z/;
}

sub run {
    my ($command) = @_;
    my $pid = open(my $out, '-|') // die "texts.pl: fork: $!\n";
    if (!$pid) {
        open(STDERR, '>&', *STDOUT) or die;
        open(STDIN, '<', '/dev/null') or die;
        exec('timeout', '60', 'bash', '-c', $command);
        exit 127;
    }
    binmode($out, ':utf8');
    local $/;
    my $text = <$out> // '';
    close($out);
    return ($text, $? & 127 ? 128 + ($? & 127) : $? >> 8);
}

sub check_console {
    my ($readme) = @_;
    my ($blocks) = parse($readme);

    for my $block (grep { $_->[0] eq 'console' } @$blocks) {
        my (undef, $line, @lines) = @$block;
        problem($readme, $line, 'this console block has no command: "$ ..."')
            if !@lines || $lines[0] !~ /^\$ \S/;
        while (@lines) {
            my $at = ++$line;
            my $command = shift @lines;
            next if $command !~ s/^\$ //;
            while ($command =~ /\\$/ && @lines) {
                $command .= "\n" . shift @lines;
                $line++;
            }
            my @expected;
            while (@lines && $lines[0] !~ /^\$ /) {
                push @expected, shift @lines;
                $line++;
            }
            compare($readme, $at, $command,
                join('', map { "$_\n" } @expected));
        }
    }
}

# On a busy machine a program may lose the processor just where it looks how far
# the others are, and see what nobody sees otherwise. So it has a few tries; a
# text that is wrong is wrong each time.
use constant TRIES => 4;

sub compare {
    my ($readme, $line, $command, $expected) = @_;
    my ($output, $status, $want, $got);

    for (1 .. TRIES) {
        ($output, $status) = run($command);
        # A blank line at the end of a block is there for the eye.
        s/\n+\z/\n/ for $output, $expected;
        ($want, $got) = map { normalize($_) } $expected, $output;
        return if $got =~ pattern($want) && $status < 124;
    }

    # What can't be shown here can't be compared here.
    my $why;
    $why = $output if $status == 77;
    $why = "$1 is not built, for want of a library"
        if $status && $command =~ m{^(?:\w+=\S+ )*(?:build/bin/|\./tour )(\S+)}
        && !-e "build/bin/$1" && glob($1 =~ s{^(..)-(.*)}{chapters/$1-*/$2.c}r);
    $why = "pages can't be dropped from the cache"
        if $want =~ /, cold:/ && $got =~ /, (?:warm:|cold or warm: unknown)/;
    $why = "dirty pages can't be counted here, or there are none"
        if $output =~ /^pages to write: unknown/m
            || $output =~ /^fsync +\d+ +\d+ +(?:unknown|0) /m;
    # What 00 says of other conditions, it says of a machine that has all.
    $why = "this machine is another one: $1"
        if basename(dirname($readme)) =~ /^00-/
            && (run('./tour 00'))[0] =~ /^(missing: .*)/m;
    if (defined $why) {
        $why =~ s/\n.*//s;
        print "skipped: $readme:$line: $why\n";
        return;
    }
    problem($readme, $line, "'$command' (status $status) does not print what "
            . "the text shows.\n--- the text\n$want--- the program\n$got---");
}

# --- links ------------------------------------------------------------------------------

sub check_links {
    my ($root, @files) = @_;
    $root = abs_path($root);

    for my $file (@files) {
        my (undef, $prose) = parse($file);
        for my $i (0 .. $#$prose) {
            my $line = $prose->[$i];
            $line =~ s/`[^`]*`//g;
            my @targets = $line =~ /\]\(<?([^)>\s]+)>?(?:\s+"[^"]*")?\)/g;
            push @targets, $1 if $line =~ /^ {0,3}\[[^\]]+\]:\s*<?([^>\s]+)/;
            push @targets, $line =~ /\b(?:src|href)="([^"]+)"/g;
            for my $target (@targets) {
                next if $target =~ /^[a-z][a-z0-9+.-]*:/i;
                my ($path, $anchor) = split(/#/, $target, 2);
                my $full = dirname($file) . "/$path";
                $full = $file if $path eq '';
                my $real = -e $full ? abs_path($full) : undef;

                # build/ is not there for whoever reads this on the web.
                if (!$real || "$real/" !~ m{^\Q$root\E/(?!build/)}) {
                    problem($file, $i + 1, "the link to '$target' is dead");
                } elsif (defined $anchor && $real =~ /\.md$/
                    && !anchors($real)->{$anchor}) {
                    problem($file, $i + 1, "'$target': no such heading");
                }
            }
        }
    }
}

# --- table: the chapters on the front page -------------------------------------------------

sub check_table {
    my ($readme, @folders) = @_;
    my (undef, $prose) = parse($readme);
    my %row; # Folder to line and text.
    my $before = '';

    for my $i (0 .. $#$prose) {
        next if $prose->[$i] !~ /^\|/;
        my %named = map { ($_ => 1) } $prose->[$i] =~ m{\]\(chapters/([^)/]+)}g;
        for my $name (sort keys %named) {
            problem($readme, $i + 1, "$name has a second row") if $row{$name};
            problem($readme, $i + 1, "$name comes behind $before")
                if $name lt $before;
            $row{$name} = [$i + 1, $prose->[$i]];
            $before = $name;
        }
    }
    for my $folder (@folders) {
        my $name = basename($folder);
        my ($title) = slurp("$folder/README.md") =~ /\A# \d+ · (.+)/;
        my $row = delete $row{$name};
        if (!$row) {
            problem($readme, 1, "the table has no row with a link to $name");
        } else {
            (my $text = $row->[1]) =~ tr/`//d;
            ($title //= '(no title)') =~ tr/`//d;
            problem($readme, $row->[0], "$name is titled '$title'")
                if index($text, $title) < 0;
        }
    }
    problem($readme, $row{$_}[0], "there is no chapter $_") for sort keys %row;
}

my %checks = (
    parts => \&check_parts,
    code => \&check_code,
    console => \&check_console,
    links => \&check_links,
    table => \&check_table,
);
my $check = $checks{shift(@ARGV) // ''} or die "texts.pl: which check?\n";
$check->(@ARGV);
exit($problems > 0);
