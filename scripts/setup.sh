#!/usr/bin/env bash
# Makes a fresh machine able to run wgrad: checks that cargo is there and, on Linux without a usable
# Vulkan driver, installs Mesa's software driver (lavapipe) through the system's package manager.
set -euo pipefail
shopt -s nullglob
PATH="$PATH:/usr/sbin:/sbin" # where ldconfig is, for those who are not root

say() { echo "setup: $*"; }

if ! command -v cargo >/dev/null; then
    say "cargo not found: get Rust from https://rustup.rs, then run this again." >&2
    exit 1
fi
if [[ $(uname -s) != Linux ]]; then
    say "nothing to install on $(uname -s): its own GPU drivers serve."
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

if has_loader && has_driver; then
    say "cargo and a Vulkan driver are there: nothing to do."
    exit 0
fi

# The first package manager found, and what it calls the driver and the loader.
refresh=() install=() as_root=()
if command -v apt-get >/dev/null; then
    packages=(mesa-vulkan-drivers libvulkan1)
    refresh=(apt-get update -qq)
    install=(env DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends -o Dpkg::Use-Pty=0)
elif command -v dnf >/dev/null; then
    packages=(mesa-vulkan-drivers vulkan-loader) install=(dnf install -y)
elif command -v pacman >/dev/null; then
    packages=(vulkan-swrast vulkan-icd-loader) install=(pacman -S --needed --noconfirm)
elif command -v apk >/dev/null; then
    packages=(mesa-vulkan-swrast vulkan-loader) install=(apk add)
elif command -v zypper >/dev/null; then
    packages=(libvulkan_lvp libvulkan1) install=(zypper --non-interactive install)
else
    packages=("Mesa's lavapipe driver" "and the Vulkan loader")
fi
if ((EUID != 0)); then
    if command -v sudo >/dev/null; then as_root=(sudo); else refresh=() install=(); fi
fi

if ((${#install[@]})); then
    say "no usable Vulkan driver: installing ${packages[*]}"
    if ((${#refresh[@]})); then "${as_root[@]}" "${refresh[@]}" || true; fi
    "${as_root[@]}" "${install[@]}" "${packages[@]}" || true
    if has_loader && has_driver; then
        say "installed."
        exit 0
    fi
fi
say "no usable Vulkan driver, and none could be installed from here. Install: ${packages[*]}" >&2
say "Until then the library runs on its CPU reference, and tests that need an adapter say so." >&2
