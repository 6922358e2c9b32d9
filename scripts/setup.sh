#!/usr/bin/env bash
# Makes a fresh machine able to run wgrad: checks that cargo is there and, on Linux without a usable
# Vulkan driver, installs Mesa's software driver (lavapipe) through the system's package manager.
# `scripts/setup.sh mpi` also installs what wgrad-mpi needs to build and run: MPI and libclang.
set -euo pipefail
shopt -s nullglob
PATH="$PATH:/usr/sbin:/sbin" # where ldconfig is, for those who are not root

say() { echo "setup: $*"; }

if [[ $# -gt 1 || ${1:-mpi} != mpi ]]; then
    say "unknown arguments: $*. It takes none, or mpi." >&2
    exit 1
fi
if ! command -v cargo >/dev/null; then
    say "cargo not found: get Rust from https://rustup.rs, then run this again." >&2
    exit 1
fi
if [[ $(uname -s) != Linux ]]; then
    say "nothing to install for a GPU on $(uname -s): its own drivers serve."
    if [[ ${1:-} == mpi ]] && ! command -v mpicc >/dev/null; then
        say "MPI is not there. On macOS: brew install open-mpi llvm" >&2
        exit 1
    fi
    exit 0
fi

# The loader, libvulkan.so.1: in the linker's cache or, for systems without one (musl), in the usual folders.
has_loader() {
    local found=({/usr,/usr/local,}/lib{,64}/libvulkan.so.1*)
    [[ $(ldconfig -p 2>/dev/null) == *libvulkan.so.1* ]] || ((${#found[@]}))
}

# Whether a file or device among the arguments can be opened for reading, and, if a device, for writing.
any_usable() {
    local path
    for path; do
        if [[ -r $path && (! -c $path || -w $path) ]]; then return 0; fi
    done
    return 1
}

# A driver that has something to drive: the user's own choice, a software driver, or a hardware driver
# whose device is there. Mesa's Intel and Radeon drivers are often installed where there is no GPU.
has_driver() {
    if [[ -n ${VK_DRIVER_FILES:-}${VK_ICD_FILENAMES:-} ]]; then return 0; fi
    local dir nvidia=() software=() other=() file
    for dir in /usr/share /usr/local/share /etc "${XDG_DATA_HOME:-${HOME:-}/.local/share}"; do
        for file in "$dir"/vulkan/icd.d/*.json; do
            case ${file##*/} in
                lvp_icd* | *swiftshader*) software+=("$file") ;;
                nvidia*) nvidia+=("$file") ;;
                *) other+=("$file") ;;
            esac
        done
    done
    if any_usable "${software[@]}"; then return 0; fi
    if any_usable "${nvidia[@]}" && any_usable /dev/nvidia[0-9]* /dev/nvhost*; then return 0; fi
    any_usable "${other[@]}" && any_usable /dev/dri/renderD* /dev/dxg
}

has_vulkan() { has_loader && has_driver; }

# MPI's compiler and launcher, and libclang, which reads MPI's headers.
has_mpi() {
    local found=(/usr/lib{,64}/libclang*.so* /usr/lib/*-linux-gnu/libclang*.so* /usr/lib/llvm*/lib/libclang*.so*)
    command -v mpicc >/dev/null && command -v mpirun >/dev/null && ((${#found[@]}))
}

# The first package manager found, and what it calls the driver and the loader, and MPI and libclang.
refresh=() install=() as_root=()
if command -v apt-get >/dev/null; then
    packages=(mesa-vulkan-drivers libvulkan1) mpi=(openmpi-bin libopenmpi-dev libclang-dev)
    refresh=(apt-get update -qq)
    install=(env DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends -o Dpkg::Use-Pty=0)
elif command -v dnf >/dev/null; then
    packages=(mesa-vulkan-drivers vulkan-loader) mpi=(openmpi-devel clang-devel) install=(dnf install -y)
elif command -v pacman >/dev/null; then
    packages=(vulkan-swrast vulkan-icd-loader) mpi=(openmpi clang) install=(pacman -S --needed --noconfirm)
elif command -v apk >/dev/null; then
    packages=(mesa-vulkan-swrast vulkan-loader) mpi=(openmpi openmpi-dev clang-dev) install=(apk add)
elif command -v zypper >/dev/null; then
    packages=(libvulkan_lvp libvulkan1) mpi=(openmpi4-devel clang-devel) install=(zypper --non-interactive install)
else
    packages=("Mesa's lavapipe driver" "and the Vulkan loader") mpi=("Open MPI or MPICH" "and libclang")
fi
if ((EUID != 0)); then
    if command -v sudo >/dev/null; then as_root=(sudo); else refresh=() install=(); fi
fi

# Installs packages and returns whether a check then succeeds.
try_install() {
    local check=$1
    shift
    ((${#install[@]})) || return 1
    say "installing $*"
    if ((${#refresh[@]})); then "${as_root[@]}" "${refresh[@]}" || true; fi
    "${as_root[@]}" "${install[@]}" "$@" || true
    "$check"
}

if has_vulkan; then
    say "cargo and a Vulkan driver are there."
elif try_install has_vulkan "${packages[@]}"; then
    say "a Vulkan driver is installed."
else
    say "no usable Vulkan driver, and none could be installed from here. Install: ${packages[*]}" >&2
    say "Until then the library runs on its CPU reference, and tests that need an adapter say so." >&2
fi
if [[ ${1:-} != mpi ]]; then exit 0; fi
if has_mpi; then
    say "MPI and libclang are there."
elif try_install has_mpi "${mpi[@]}"; then
    say "MPI and libclang are installed."
else
    say "no mpicc, mpirun or libclang, and they could not be installed from here. Install: ${mpi[*]}." >&2
    say "On Fedora, then run: module load mpi/openmpi-x86_64" >&2
    exit 1
fi
