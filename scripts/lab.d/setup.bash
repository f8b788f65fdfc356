# Prepares what scripts/lab needs to start a virtual machine: packages, a kernel, an initramfs, an accelerator.
# shellcheck shell=bash disable=SC2034 # scripts/lab uses the variables set here
: "${here:?is set by scripts/lab}"

# Programs and their Debian packages: for the virtual machine, and for commands in the lab.
readonly machine_tools=(qemu-system-x86_64=qemu-system-x86 cpio=cpio xz=xz-utils)
readonly lab_tools=(modprobe=kmod ip=iproute2 ipvsadm=ipvsadm nft=nftables curl=curl)

# A minimal machine. isa-debug-exit makes QEMU end at once on a write to port 0xf4.
readonly machine=(-nodefaults -display none -no-reboot -device "isa-debug-exit,iobase=0xf4,iosize=1")
# panic=-1 with -no-reboot: a panic ends QEMU. tsc=reliable: with the hpet clock, each reading would be a system call.
readonly kernel_line="console=ttyS0 quiet panic=-1 mitigations=off tsc=reliable no_timer_check rcupdate.rcu_expedited=1"

# Set by find_kernel.
kernel_dir='' # vmlinux, modules/, busybox
initrd=''
accelerator=()

kernel_has_ipvs() {
  modprobe -aq ip_vs ipip 2>/dev/null || true
  [[ -e /proc/net/ip_vs ]]
}

# Finds the newest kernel in the cache, or downloads one. The lock lets several labs start at the same time.
find_kernel() {
  local cache=${XDG_CACHE_HOME:-$HOME/.cache}/lb-lab lock
  mkdir -p -- "$cache"
  exec {lock}>"$cache/lock"
  flock "$lock"
  kernel_dir=$(newest_kernel "$cache")
  if [[ -z $kernel_dir ]]; then
    fetch_kernel "$cache"
    kernel_dir=$(newest_kernel "$cache")
  fi
  initrd=$kernel_dir/initrd-$(cksum <"$here/init" | tr -d ' ')
  [[ -e $initrd ]] || build_initrd
  choose_accelerator "$cache"
  exec {lock}>&-
}

newest_kernel() { # CACHE
  find "$1" -mindepth 1 -maxdepth 1 -type d -name 'kernel-*' | sort -V | tail -n 1
}

# Downloads Debian's kernel and a static busybox, and unpacks them without installing. (The linux-image-cloud kernel has no
# 9p.)
fetch_kernel() { # CACHE
  local work package version modules
  if ! command -v apt-get >/dev/null || [[ $(uname -m) != x86_64 ]]; then
    fail 69 "this kernel has no IPVS (or you are not root), and the virtual machine needs Debian 12 on x86-64."
  fi
  rm -rf -- "$1"/fetch.*
  work=$(mktemp -d "$1/fetch.XXXXXX")
  package=$(kernel_package)
  if [[ -z $package ]] && ((EUID == 0)) && apt update; then package=$(kernel_package); fi
  [[ -n $package ]] || fail 77 "apt does not know the package linux-image-amd64. Run: sudo apt-get update"
  say "downloading $package (70 MB), once"
  (cd "$work" && download "$package" busybox-static) ||
    fail 69 "could not download $package and busybox-static. Run: sudo apt-get update, then try again"
  dpkg -x "$work/$package"_*.deb "$work/root"
  dpkg -x "$work"/busybox-static_*.deb "$work/root"
  version=${package#linux-image-}
  modules=$(find "$work/root" -type d -path "*/lib/modules/$version" -prune)
  mkdir -p "$work/kernel/lib/modules"
  mv "$modules" "$work/kernel/lib/modules/"
  ln -s "lib/modules/$version" "$work/kernel/modules"
  depmod -b "$work/kernel" "$version"
  mv "$work/root/bin/busybox" "$work/kernel/busybox"
  unpack_kernel "$work/root/boot/vmlinuz-$version" "$work/kernel/vmlinux"
  mv "$work/kernel" "$1/kernel-$version"
  rm -rf -- "$work"
}

# Extracts the ELF file from a bzImage: QEMU starts it directly, whereas the kernel's own unpacking takes 4 s under emulation.
# The boot header has its offset (Documentation/arch/x86/boot.rst in the kernel's source). QEMU starts a bzImage too, so one
# that is not packed with xz is used as it is.
unpack_kernel() { # BZIMAGE KERNEL
  local sectors offset length
  sectors=$(od -An -t u1 -j $((0x1f1)) -N 1 "$1")
  offset=$(od -An -t u4 -j $((0x248)) -N 4 "$1")
  length=$(od -An -t u4 -j $((0x24c)) -N 4 "$1")
  # The last 4 bytes are the unpacked length, not part of the xz stream.
  dd if="$1" of="$2.xz" bs=1M iflag=skip_bytes,count_bytes skip=$(((sectors + 1) * 512 + offset)) count=$((length - 4)) \
    status=none
  xz -dc "$2.xz" >"$2" 2>/dev/null || cp -- "$1" "$2"
  rm -f -- "$2.xz"
}

kernel_package() {
  apt-cache depends linux-image-amd64 2>/dev/null | sed -nE 's/^ *Depends: (linux-image-[^ ]+).*/\1/p' | head -n 1
}

# busybox, our init, and modules: those needed to reach the host's files and terminal, and those that CMD can rely on, which
# load faster from here. Not compressed: unpacking would take longer than reading.
build_initrd() {
  local root version
  root=$(mktemp -d "$kernel_dir/initrd.XXXXXX")
  version=$(basename "$(readlink "$kernel_dir/modules")")
  mkdir -p "$root"/{bin,dev,proc,sys,lower,upper,root,modules}
  cp "$kernel_dir/busybox" "$root/bin/busybox"
  install -m 755 "$here/init" "$root/init"
  modprobe -d "$kernel_dir" -S "$version" --show-depends -a virtio_pci virtio_console 9pnet_virtio 9p overlay ip_vs ipip |
    awk '$1 == "insmod" && !seen[$2]++ { print $2 }' | while read -r file; do
    case $file in
      *.xz) xz -dc "$file" ;;
      *) cat "$file" ;;
    esac >"$root/modules/$(basename "${file%%.ko*}").ko"
    basename "${file%%.ko*}" >>"$root/modules/order"
  done
  (cd "$root" && find . | cpio --quiet -o -H newc) >"$root.cpio"
  mv "$root.cpio" "$initrd"
  rm -rf -- "$root"
}

# /dev/kvm may exist and not work (QEMU then hangs or dies), so it is used only after it has booted this kernel once. The
# result is valid until this machine reboots.
choose_accelerator() { # CACHE
  accelerator=(-accel "tcg,thread=multi" -cpu max)
  [[ -r /dev/kvm && -w /dev/kvm ]] || return 0
  local answer
  answer=$1/kvm-$(</proc/sys/kernel/random/boot_id)
  if [[ ! -s $answer ]]; then
    rm -f -- "$1"/kvm-*
    if probe_kvm 2>/dev/null; then echo yes; else echo no; fi >"$answer"
  fi
  if [[ $(<"$answer") == yes ]]; then accelerator=(-accel kvm -cpu host); fi
}

probe_kvm() {
  local status=0
  timeout -s KILL 10 qemu-system-x86_64 -accel kvm -cpu host -m 512M "${machine[@]}" -kernel "$kernel_dir/vmlinux" \
    -initrd "$initrd" -append "$kernel_line lab.probe" </dev/null >/dev/null 2>&1 || status=$?
  ((status == 85)) # init writes 42 to the port; QEMU exits with 2 * 42 + 1
}
