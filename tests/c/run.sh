#!/bin/sh
# Checks the C library as C programs meet it: header, exports, linking, behaviour, memory.
# `make libtrop` comes first. Builds into target/c-tests.
set -u
cd "$(dirname "$0")/../.." || exit 1
library=$PWD/target/release
out=$PWD/target/c-tests
rm -rf "$out"
mkdir -p "$out" || exit 1
work=$(mktemp -d) || exit 1
trap 'rm -rf "$work"' EXIT

CC=${CC:-cc}
CXX=${CXX:-c++}
strict="-std=c99 -Wall -Wextra -pedantic -Werror -g -Iinclude"
# The ports of this suite, 23000 to 23999: each suite of the project has its own, see tests/README.md. Those
# below are for tests that name ports.
export TROP_PORT_MIN=23500 TROP_PORT_MAX=23999 TROP_LEASE_PORT_MIN=23500 TROP_LEASE_PORT_MAX=23999
native=$(sed -n 's/^Libs.private: //p' trop-ffi/trop.pc.in)
programs="arguments handles lease_processes leases occupancy operations reserve"
passed=0
failed=0

# step NAME COMMAND...: runs the command with a data directory of its own.
step() {
    name=$1
    shift
    export TROP_DATA_DIR="$work/$((passed + failed))"
    if "$@" >"$work/log" 2>&1; then
        passed=$((passed + 1))
        echo "ok      $name"
    else
        failed=$((failed + 1))
        echo "FAILED  $name"
        sed 's/^/        /' "$work/log"
    fi
}

exports() {
    nm -D --defined-only "$library/libtrop.so" | awk '{ print $NF }' | LC_ALL=C sort | diff tests/c/exports.txt -
}

# The file name that programs record must carry the number of the binary interface.
soname() {
    number=$(sed -n 's/^#define TROP_ABI_VERSION //p' include/trop.h)
    LC_ALL=C readelf -d "$library/libtrop.so" | grep -F "SONAME" | grep -F "[libtrop.so.$number]"
}

# The library must not be unloaded, because its fork handlers stay registered.
nodelete() {
    LC_ALL=C readelf -d "$library/libtrop.so" | grep -F "NODELETE"
}

# trop.pc must name all libraries that rustc lists for a static program, also those that are not needed here.
private_libraries() {
    : >"$work/empty.rs"
    needed=$(rustc --crate-type staticlib --print native-static-libs -o "$work/empty.a" "$work/empty.rs" 2>&1 |
        sed -n 's/^note: native-static-libs: //p')
    echo "rustc wants $needed; trop-ffi/trop.pc.in has $native"
    [ -n "$needed" ] || return
    for option in $needed; do
        case " $native " in
        *" $option "*) ;;
        *) return 1 ;;
        esac
    done
}

# Builds and runs the example as its README says, in a checkout whose path has a space.
c_example() {
    mkdir -p "$checkout/examples" && cp -R examples/c "$checkout/examples" &&
        ln -s "$PWD/include" "$PWD/target" "$checkout" &&
        MAKEFLAGS='' make -C "$checkout/examples/c" clean example CC="$CC" && "$checkout/examples/c/example"
}

linked_statically() {
    ! LC_ALL=C readelf -d "$out/reserve_static" | grep -F "libtrop"
}

# shellcheck disable=SC2086 # the variables are lists of options
step "header as C99" $CC $strict -c tests/c/header_only.c -o "$out/header_c.o"
if command -v "$CXX" >/dev/null; then
    # shellcheck disable=SC2086
    step "header as C++" $CXX -x c++ -Wall -Wextra -pedantic -Werror -Iinclude -c tests/c/header_only.c -o "$out/header_cxx.o"
fi
step "exports are those of exports.txt" exports
if command -v readelf >/dev/null; then
    step "SONAME" soname
    step "stays loaded" nodelete
fi

for program in $programs; do
    # shellcheck disable=SC2086
    step "build $program" $CC $strict "tests/c/$program.c" -o "$out/$program" \
        -L"$library" -Wl,-rpath,"$library" -ltrop -lpthread
    step "run $program" "$out/$program"
done
step "trop.pc names what rustc links" private_libraries
# shellcheck disable=SC2086
step "link statically" $CC $strict tests/c/reserve.c -o "$out/reserve_static" "$library/libtrop.a" $native
step "run reserve_static" "$out/reserve_static"
command -v readelf >/dev/null && step "reserve_static needs no libtrop.so" linked_statically

checkout="$work/a checkout"
step "C example" c_example

if command -v valgrind >/dev/null; then
    memory_check="valgrind -q --leak-check=full --error-exitcode=1 --child-silent-after-fork=yes"
    for program in $programs reserve_static; do
        # shellcheck disable=SC2086
        step "valgrind $program" $memory_check "$out/$program"
    done
    # shellcheck disable=SC2086
    step "valgrind C example" $memory_check "$checkout/examples/c/example"
fi

echo "$passed passed, $failed failed"
[ "$failed" -eq 0 ]
