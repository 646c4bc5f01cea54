# Verify a message on standard input with Mail::DKIM; keys come from the name server on 127.0.0.1 port ARGV[0].
# Prints one line per signature: "pass rsa-sha256 shop.test stf1". With "-" as ARGV[1] standard input has the paths of
# messages instead, a line each, and every line printed ends with a tab and its path.
use strict;
use warnings;
use Mail::DKIM::DNS;
use Mail::DKIM::Verifier;
use Net::DNS::Resolver;

my $resolver = Net::DNS::Resolver->new(nameservers => ['127.0.0.1'], port => $ARGV[0], recurse => 0, udp_timeout => 5);
Mail::DKIM::DNS::resolver($resolver);

sub verify {
    my ($message, $end) = @_;
    binmode $message;
    my $verifier = Mail::DKIM::Verifier->new();
    while (my $line = <$message>) { $verifier->PRINT($line); }
    $verifier->CLOSE();
    for my $signature ($verifier->signatures) {
        print join(' ', $signature->result, $signature->algorithm, $signature->domain, $signature->selector), $end, "\n";
    }
}

if (defined $ARGV[1] && $ARGV[1] eq '-') {
    while (my $path = <STDIN>) {
        chomp $path;
        open(my $message, '<', $path) or die "$path: $!";
        verify($message, "\t$path");
        close $message;
    }
} else {
    verify(\*STDIN, '');
}
