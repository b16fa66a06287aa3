#!/usr/bin/perl
#
# filter.pl FILE: a page, as Doxygen understands it. The pages are written for
# everybody who reads Markdown; Doxygen's is another one, and where it stumbles
# it may give up the rest of the page without a word. So whoever writes a page
# need not know any of this; common/test/site.bats holds the outcome to it.
#
# Nothing here needs more of Perl than Debian's perl-base has.
use strict;
use warnings;
use File::Basename qw(basename);

@ARGV == 1 or die "usage: filter.pl FILE\n";
open(my $page, '<', $ARGV[0]) or die "filter.pl: $ARGV[0]: $!\n";

my (@prose, $fence);
while (my $line = <$page>) {
    # The title becomes an attribute and an entry of a menu: no code in there.
    $line =~ tr/`//d if $. == 1;
    if (defined $fence) {
        print $line;
        undef $fence if $line =~ /^ *\Q$fence\E *$/;
    } elsif ($line =~ /^ *(```+|~~~+)/) {
        $fence = $1;
        print mended(splice(@prose)), $line;
    } elsif ($line =~ /^\s*$/) {
        print mended(splice(@prose)), $line;
    } else {
        push @prose, $line;
    }
}
print mended(@prose);

# Lines of prose that belong together: up to a blank one, or to a block.
sub mended {
    my $text = join('', @_);
    my $lines = @_;
    my @code;

    # What is in a code span stays as it is: none of it is a link or emphasis.
    $text =~ s{(?<!`)(`+)(?!`)(.+?)(?<!`)\1(?!`)}
              {push @code, length($1) > 2 ? in_tags($2) : $&; "\0$#code\0"}gse;

    # A link text may break over a line, but Doxygen's may not.
    $text =~ s{\[([^\[\]]*)\](?=\()}{'[' . on_one_line($1, \@code) . ']'}ge;

    # In a link to another page it knows no code.
    $text =~ s{\[([^\[\]]*)\](?=\((?![a-z]+:)[^()\s]+\.md\))}
              {'[' . without_marks($1, \@code) . ']'}ge;

    # A link to a page or to elsewhere it understands.
    $text =~ s{(!?)\[([^\[\]]*)\]\((?![a-z]+:|\#)([^()\s\#]+)(?<!\.md)\)}
              {in_the_site($1, $2, basename($3))}ge;

    # Emphasis may begin and end with anything but a blank.
    $text =~ s{(?<![\w*\\])\*\*(?![\s*])([^*]*[^\s*])\*\*(?![\w*])}{<b>$1</b>}g;
    $text =~ s{(?<![\w*\\])\*(?![\s*])([^*]*[^\s*])\*(?![\w*])}{<em>$1</em>}g;

    $text =~ s/\0(\d+)\0/$code[$1]/g;

    # What comes below keeps its line number, for Doxygen's warnings.
    return $text . "\n" x ($lines - $text =~ tr/\n//);
}

# A code span that begins with three backquotes or more: Doxygen 1.17 does not
# find its end.
sub in_tags {
    my ($code) = @_;
    my %entity = ('&' => '&amp;', '<' => '&lt;', '>' => '&gt;');
    $code =~ s/^ (.*) $/$1/s;
    $code =~ s/[&<>]/$entity{$&}/g;
    $code =~ s/[`*_\@#]/\\$&/g;
    return "<code>$code</code>";
}

sub on_one_line {
    my ($text, $code) = @_;
    $text =~ s/\s*\n\s*/ /g;
    for ($text =~ /\0(\d+)\0/g) {
        $code->[$_] =~ s/\s*\n\s*/ /g;
    }
    return $text;
}

sub without_marks {
    my ($text, $code) = @_;
    $text =~ s/\0(\d+)\0/$code->[$1] =~ tr{`}{}dr/ge;
    return $text;
}

# All files lie in the site's one folder. Doxygen puts the pictures there by
# itself, the others are listed in HTML_EXTRA_FILES.
sub in_the_site {
    my ($picture, $text, $name) = @_;
    return $picture ? "![$text]($name)" : "<a href=\"$name\">$text</a>";
}
