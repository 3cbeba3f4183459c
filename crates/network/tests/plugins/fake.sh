#!/bin/sh
# A CNI plugin for tests. Its name says how it behaves; every call is noted in calls.log beside it,
# with its environment and its stdin.
name=${0##*/}
dir=${0%/*}
stdin=$(cat)
printf '%s %s netns=%s id=%s if=%s args=%s path=%s stdin=%s\n' \
    "$CNI_COMMAND" "$name" "$CNI_NETNS" "$CNI_CONTAINERID" "$CNI_IFNAME" "$CNI_ARGS" "$CNI_PATH" \
    "$stdin" >>"$dir/calls.log"

say() {
    printf '{"cniVersion":"1.1.0","code":%s,"msg":"%s","details":"%s"}' "$1" "$2" "$3"
    exit 1
}
case "$name-$CNI_COMMAND" in
    fail-ADD) say 7 "no such bridge" "br9" ;;
    busy-ADD) say 11 "try later" "" ;;
    die-ADD) echo "panic: oops" >&2; exit 2 ;;
    garbage-ADD) echo "not json"; exit 0 ;;
    hang-ADD) sleep 1000 ;;
    stray-ADD)
        # Leaves the process group, as a plugin does whose daemon was killed.
        setsid sh -c "sleep 1000; : $CNI_CONTAINERID" </dev/null >/dev/null 2>&1 &
        sleep 1000 ;;
    stubborn-DEL)
        [ -e "$dir/relent" ] || say 999 "will not" "" ;;
    sick-STATUS)
        [ -e "$dir/cured" ] || say 50 "agent is down" "" ;;
    *-ADD)
        cat <<END
{"cniVersion":"1.0.0","by":"$name","interfaces":[{"name":"eth0","sandbox":"$CNI_NETNS"}],
 "ips":[{"address":"10.1.0.5/16","interface":0},{"address":"fd01::5/64","interface":0}]}
END
        ;;
esac
exit 0
