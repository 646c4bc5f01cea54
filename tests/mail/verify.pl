# Verify a message on standard input with Mail::DKIM; keys come from the name server on 127.0.0.1 port ARGV[0].
# Prints one line per signature: "pass rsa-sha256 shop.test stf1".
use strict;
use warnings;
use Mail::DKIM::DNS;
use Mail::DKIM::Verifier;
use Net::DNS::Resolver;

my $resolver = Net::DNS::Resolver->new(nameservers => ['127.0.0.1'], port => $ARGV[0], recurse => 0, udp_timeout => 5);
Mail::DKIM::DNS::resolver($resolver);
binmode STDIN;
my $verifier = Mail::DKIM::Verifier->new();
$verifier->PRINT($_) while <STDIN>;
$verifier->CLOSE();
for my $signature ($verifier->signatures) {
    print join(' ', $signature->result, $signature->algorithm, $signature->domain, $signature->selector), "\n";
}
