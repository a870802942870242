#!/usr/bin/env bash
# Builds a Linux whose TCP sockets have no error queue, as before 5.8, as a
# process: User Mode Linux.
#
#     bash .ci/old_linux.sh FOLDER KERNEL
#
# FOLDER has Debian 11's package linux-source-5.10, and is used to build in.
# The kernel is Debian's but for commit 45af29ca761c ("tcp: allow traceroute
# -Mtcp for unpriv users", Linux 5.8), of which it undoes the effect.  Its
# release still says 5.10: distributions carry commits back and forth, so
# nobody may conclude from that number.

set -eu

config=$(realpath "$(dirname "$0")/old_linux.config")
kernel=$(realpath "$2")
cd "$1"

# UNDONE: a file, and the call in it that the commit has added.
UNDONE="
net/ipv4/tcp_ipv4.c|	ip_icmp_error(sk, skb, err, th->dest, info, (u8 *)th);
net/ipv6/tcp_ipv6.c|	ipv6_icmp_error(sk, skb, err, th->dest, ntohl(info), \
(u8 *)th);
"

dpkg-deb --fsys-tarfile linux-source-5.10_*.deb |
    tar -xO ./usr/src/linux-source-5.10.tar.xz |
    tar -xJ --exclude='*/Documentation/*/*'
cd linux-source-5.10

while IFS='|' read -r file call; do
    [ -n "$file" ] || continue
    [ "$(grep -cF "$call" "$file")" = 1 ] || { echo "not in $file"; exit 1; }
    grep -vF "$call" "$file" >changed
    mv changed "$file"
done <<<"$UNDONE"

make -s ARCH=um allnoconfig KCONFIG_ALLCONFIG="$config" >/dev/null
while read -r setting; do       # one that was not taken is a surprise
    [[ $setting = \#* ]] || grep -qxF "$setting" .config ||
        { echo "not taken: $setting"; exit 1; }
done <"$config"
make -s ARCH=um -j2 linux
strip -o "$kernel" linux
