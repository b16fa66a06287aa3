#!/usr/bin/perl
#
# site.pl: what site.bats asks about the site that Doxygen has made. Prints each
# problem as FILE:LINE: what it is, and exits 1 when there is one. HTML is the
# site's folder, a FILE one of its pages, or of its scripts.
#
#     site.pl headings HTML PAGE...  each page of Markdown, with its headings
#     site.pl text FILE...           nothing of Markdown or Doxygen is left over
#     site.pl links HTML FILE...     every link leads somewhere
#     site.pl paths FOLDER FILE...   the folder is not named
#
# Nothing here needs more of Perl than Debian's perl-base has.
use strict;
use warnings;
use utf8;
use File::Basename qw(basename dirname);

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
    open(my $in, '<:utf8', $file) or die "site.pl: $file: $!\n";
    return <$in> // '';
}

# --- HTML ---------------------------------------------------------------------

my %entity = (amp => '&', lt => '<', gt => '>', quot => '"', nbsp => ' ',
    middot => '·');

sub decoded {
    my ($text) = @_;
    $text =~ s{&(?:#(\d+)|#x([0-9a-f]+)|(\w+));}
              {defined $1 ? chr($1) : defined $2 ? chr(hex($2))
                   : $entity{$3} // $&}gie;
    return $text;
}

# What has no end tag.
my %void = map { $_ => 1 } qw(area base br col embed hr img input link meta
    source track wbr);

# What holds code and not text: these elements, and those of these classes.
my %code = map { $_ => 1 } qw(code pre tt kbd samp);
my $code_class = qr/\b(?:tt|fragment|fragments?-?line|mem(?:Item|Templ|name|proto|title)\w*|
                         param(?:type|name)|fieldname|tt(?:name|deci|def))\b/x;

# The page as a list of [kind, line, what, in code?, attributes]: kind is "open"
# or "close", and what a tag's name; or kind is "text".
sub tokens {
    my ($file) = @_;
    my $html = slurp($file);
    my ($line, $in_code, @tokens, @open) = (1, 0);

    while ($html =~ m{\G(?: (<!--.*?-->|<![^>]*>)
                          | <(script|style)\b((?:"[^"]*"|'[^']*'|[^>"'])*)>.*?</\2>
                          | <(/?)([a-z]\w*)((?:"[^"]*"|'[^']*'|[^>"'])*)>
                          | ([^<]+|<) )}gcsxi) {
        my ($all, $script, $scripts, $end, $tag, $rest, $text) =
            ($&, $2, $3, $4, $5, $6, $7);
        if (defined $text) {
            push @tokens, ['text', $line, decoded($text), $in_code];
        } elsif (defined $script) {
            push @tokens, ['open', $line, $script, $in_code, attributes($scripts)];
        } elsif (defined $tag && $end) {
            # What was left open in it ends with it.
            if (grep { $_->[0] eq $tag } @open) {
                while (my $last = pop @open) {
                    $in_code -= $last->[1];
                    last if $last->[0] eq $tag;
                }
            }
            push @tokens, ['close', $line, $tag, $in_code];
        } elsif (defined $tag) {
            my $attributes = attributes($rest);
            if (!$void{$tag} && $rest !~ m{/\s*\z}) {
                my $is_code = $code{$tag}
                    || ($attributes->{class} // '') =~ $code_class ? 1 : 0;
                push @open, [$tag, $is_code];
                $in_code += $is_code;
            }
            push @tokens, ['open', $line, $tag, $in_code, $attributes];
        }
        $line += $all =~ tr/\n//;
    }
    return @tokens;
}

sub attributes {
    my ($text) = @_;
    my %attributes;
    $attributes{lc $1} = decoded($2 // $3)
        while $text =~ /([\w:-]+)\s*=\s*(?:"([^"]*)"|'([^']*)')/g;
    return \%attributes;
}

sub squeezed {
    my ($text) = @_;
    $text =~ s/\s+/ /g;
    $text =~ s/^ | $//g;
    return $text;
}

# --- headings: each page of Markdown is there, and whole ----------------------------

# The headings of a page, as a reader sees them, and their lines. The first is
# its title.
sub headings_of_markdown {
    my ($file) = @_;
    my ($fence, @headings);
    my $line = 0;

    for (split(/\n/, slurp($file))) {
        $line++;
        if (defined $fence) {
            undef $fence if /^ *\Q$fence\E *$/;
        } elsif (/^ *(```+|~~~+)/) {
            $fence = $1;
        } elsif (/^#+ +(.*?) *#*$/) {
            my $heading = $1;
            $heading =~ s/\[([^\]]*)\]\([^)]*\)/$1/g;
            $heading =~ tr/`*//d;
            push @headings, [$heading, $line];
        }
    }
    return @headings;
}

sub headings_of_html {
    my ($file) = @_;
    my (@headings, $within);

    for my $token (tokens($file)) {
        my ($kind, undef, $what, undef, $attributes) = @$token;
        if ($kind eq 'open' && ($what =~ /^h[1-6]$/i
                || $what eq 'div' && ($attributes->{class} // '') eq 'title')) {
            push @headings, '';
            $within = $what;
        } elsif ($kind eq 'close' && defined $within && $what eq $within) {
            undef $within;
        } elsif ($kind eq 'text' && defined $within) {
            $headings[-1] .= $what;
        }
    }
    return map { squeezed($_) } @headings;
}

sub check_headings {
    my ($html, @pages) = @_;
    my %made; # Title to file and headings.

    for my $file (glob("'$html'/*.html")) {
        my ($title, @rest) = headings_of_html($file);
        $made{$title} = [$file, @rest] if defined $title;
    }
    for my $page (@pages) {
        my ($title, @headings) = headings_of_markdown($page);
        my ($file, @there) = @{$made{$title ? $title->[0] : ''} // []};
        if (!defined $file) {
            problem($page, 1, 'the site has no page with this title');
            next;
        }
        for (@headings) {
            my ($heading, $line) = @$_;
            my $at = 0;
            $at++ while $at < @there && $there[$at] ne $heading;
            if ($at < @there) {
                splice(@there, 0, $at + 1);
            } else {
                problem($page, $line,
                    "'$heading' is no heading in $file, or not in its place");
            }
        }
    }
}

# --- text: nothing is left over -----------------------------------------------------

# No program on the pages speaks HTML: in code as well, these are left over.
my $tags = qr/tt|code|em|strong|b|p|ul|ol|li|h[1-6]|a|div|span|br/;
my $commands = qr/ref|verbatim|endverbatim|code|endcode|page|subpage|section|
                  subsection|anchor|image|include|htmlonly|endhtmlonly/x;

sub check_text {
    for my $file (@_) {
        for my $token (tokens($file)) {
            my ($kind, $line, $text, $in_code) = @$token;
            next if $kind ne 'text';
            my $found = sub {
                my ($what, $at) = @_;
                my $before = substr($text, 0, $at) =~ tr/\n//;
                my ($shown) = substr($text, $at) =~ /^(.{0,40})/;
                problem($file, $line + $before, "$what: $shown");
            };
            $found->('an escaped tag', $-[0])
                while $text =~ m{</?(?:$tags)(?=[\s>/])}gi;
            $found->('a command of Doxygen', $-[0])
                while $text =~ m{\@(?:$commands)\b}g;
            next if $in_code;
            $found->('an escaped tag', $-[0])
                while $text =~ m{</?(?!(?:$tags)[\s>/])[a-z]\w*(?=[\s>/])}gi;
            $found->('a command of Doxygen', $-[0])
                while $text =~ m{\\(?:$commands)\b}g;
            $found->('an asterisk', $-[0]) while $text =~ m{\*+}g;
            $found->('a backquote', $-[0]) while $text =~ m{`+}g;
            $found->('a link as it is written', $-[0]) while $text =~ m{\]\(}g;
        }
    }
}

# --- links ----------------------------------------------------------------------------

my %anchors; # File to its anchors.

sub has_anchor {
    my ($file, $anchor) = @_;
    $anchors{$file} //= {
        map { ($_ => 1) } map { grep { defined } @{$_->[4]}{'id', 'name'} }
            grep { $_->[0] eq 'open' } tokens($file)
    };
    return $anchors{$file}{$anchor};
}

sub check_links {
    my ($html, @files) = @_;
    for my $file (grep { /\.html$/ } @files) {
        for my $token (grep { $_->[0] eq 'open' } tokens($file)) {
            my (undef, $line, undef, undef, $attributes) = @$token;
            # Above a list that is too short to be divided by letters, Doxygen
            # 1.17 offers the letters all the same.
            next if ($attributes->{class} // '') eq 'qindex';
            check_link($html, $file, $line, $_)
                for grep { defined } @$attributes{'href', 'src', 'data'};
        }
    }
    # The tree of pages, the menu and the search: lists that scripts read.
    for my $file (grep { /\.js$/ } @files) {
        my $line = 0;
        for my $text (split(/\n/, slurp($file))) {
            $line++;
            check_link($html, $file, $line, $1)
                while $text =~ m{["']([\w./-]*\w\.html(?:\#\w*)?)["']}g;
        }
    }
}

sub check_link {
    my ($html, $file, $line, $target) = @_;
    return if $target =~ m{^(?:[a-z][a-z0-9+.-]*:|//)}i || $target eq '#';

    my ($path, $anchor) = split(/#/, $target, 2);
    $path =~ s/\?.*//s;
    $path =~ s/%([0-9a-f]{2})/chr(hex($1))/gie;
    # A script's links are meant from the page that runs it.
    my $base = $file =~ /\.js$/ && $path !~ m{^\.\./} ? $html : dirname($file);
    my $full = $path eq '' ? $file : "$base/$path";
    1 while $full =~ s{/\./}{/} || $full =~ s{/(?!\.\./)[^/]+/\.\./}{/};

    if (index($full, "$html/") != 0) {
        problem($file, $line, "the link to '$target' leads out of the site");
    } elsif (!-f $full) {
        problem($file, $line, "the link to '$target' is dead");
    } elsif (defined $anchor && $full =~ /\.html$/ && !has_anchor($full, $anchor)) {
        problem($file, $line, "the link to '$target': there is no such anchor");
    }
}

# --- paths ----------------------------------------------------------------------------

sub check_paths {
    my ($folder, @files) = @_;
    for my $file (@files) {
        my $line = 0;
        for my $text (split(/\n/, slurp($file))) {
            $line++;
            problem($file, $line, "names $folder")
                if $text =~ m{(?<![\w.~-])\Q$folder\E(?![\w.-])};
        }
    }
}

my %checks = (
    headings => \&check_headings,
    text => \&check_text,
    links => \&check_links,
    paths => \&check_paths,
);
my $check = $checks{shift(@ARGV) // ''} or die "site.pl: which check?\n";
@ARGV or die "site.pl: of what?\n";
$check->(@ARGV);
exit($problems > 0);
