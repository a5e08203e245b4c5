"""Python as on Windows, for the modules of seq2att alone; a process that has this folder on PYTHONPATH loads it.

The standard library and other packages see the system as it is. For seq2att, what the documentation of the standard
library marks as `Availability: Unix` or `not Windows` is missing, a file is not renamed onto another one, and an open
or mapped file is neither renamed nor deleted. Text without an encoding is an error.
"""

import builtins
import os
import pathlib
import shutil
import sys
import types
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

PACKAGE = str(Path(__file__).resolve().parents[2] / "seq2att") + os.sep
SIGNALS = {"SIGABRT", "SIGBREAK", "SIGFPE", "SIGILL", "SIGINT", "SIGSEGV", "SIGTERM", "SIG_DFL", "SIG_IGN"}
MODULES = set(
    "crypt curses fcntl grp nis ossaudiodev posix pty pwd readline resource spwd syslog termios tty "
    "_posixshmem _posixsubprocess".split()
)
LACKING = {
    "os": set(
        "chflags chroot chown confstr copy_file_range ctermid environb eventfd fchdir fchmod fchown fdatasync fork "
        "forkpty fpathconf fstatvfs fwalk get_blocking getegid getenvb geteuid getgid getgrouplist getgroups "
        "getloadavg getpgid getpgrp getpriority getrandom getresgid getresuid getsid getuid getxattr grantpt "
        "initgroups killpg lchflags lchmod lchown listxattr lockf login_tty major makedev memfd_create minor "
        "mkfifo mknod nice openpty pathconf pidfd_open pipe2 plock posix_fadvise posix_fallocate posix_openpt "
        "posix_spawn posix_spawnp pread preadv ptsname pwrite pwritev readv register_at_fork removexattr "
        "sched_get_priority_max sched_get_priority_min sched_getaffinity sched_getparam sched_getscheduler "
        "sched_param sched_rr_get_interval sched_setaffinity sched_setparam sched_setscheduler sched_yield "
        "sendfile set_blocking setegid seteuid setgid setgroups setns setpgid setpriority setregid setresgid "
        "setresuid setreuid setsid setuid setxattr spawnlp spawnlpe spawnvp spawnvpe splice statvfs sync sysconf "
        "tcgetpgrp tcsetpgrp timerfd_create ttyname uname unlockpt unshare wait wait3 wait4 waitid writev".split()
    )
    | {name for name in dir(os) if name.startswith(("W", "CLD_", "EX_", "F_", "GRND_", "POSIX_", "PRIO_", "RTLD_"))}
    | {name for name in dir(os) if name.startswith(("SCHED_", "ST_", "XATTR_", "EFD_", "CLONE_", "SPLICE_", "O_"))}
    - set("EX_OK F_OK W_OK".split())
    - {f"O_{name}" for name in "APPEND BINARY CREAT EXCL RDONLY RDWR TEMPORARY TEXT TRUNC WRONLY".split()},
    "signal": {
        name for name in dir(__import__("signal")) if name.startswith(("SIG", "ITIMER_")) and name not in SIGNALS
    }
    | set(
        "alarm getitimer pause pidfd_send_signal pthread_kill pthread_sigmask setitimer siginterrupt sigpending "
        "sigtimedwait sigwait sigwaitinfo".split()
    )
    - {"Signals"},
    "time": {name for name in dir(__import__("time")) if name.startswith(("CLOCK_", "clock_", "pthread_", "tzset"))},
    "select": set("devpoll epoll kevent kqueue poll".split()),
    "socket": set("AF_UNIX CMSG_LEN CMSG_SPACE SO_REUSEPORT recv_fds send_fds".split()),
    "mmap": {name for name in dir(__import__("mmap")) if name.startswith(("PROT_", "MAP_", "MADV_"))},
    "locale": {"nl_langinfo"},
    "sys": {"abiflags", "getdlopenflags", "setdlopenflags"},
}
"""What each module lacks on Windows."""


class Windows(types.ModuleType):
    """A module without what it lacks on Windows."""

    def __init__(self, module: types.ModuleType, lacking: set[str]) -> None:
        super().__init__(module.__name__)
        self.__dict__.update(_module=module, _lacking=lacking)

    def __getattr__(self, name: str) -> Any:
        if name in self._lacking:
            raise AttributeError(f"module {self.__name__!r} has no attribute {name!r} on Windows")
        return getattr(self._module, name)

    def __setattr__(self, name: str, value: Any) -> None:
        setattr(self._module, name, value)


def is_ours(names: Any) -> bool:
    """Whether these global names are those of a module of seq2att."""
    return str((names or {}).get("__file__", "")).startswith(PACKAGE)


def import_as_on_windows(name: str, globals: Any = None, *arguments: Any, **options: Any) -> Any:
    """`__import__`, which gives a module of seq2att what Windows has."""
    if is_ours(globals):
        if name.partition(".")[0] in MODULES:
            raise ModuleNotFoundError(f"No module named {name!r} on Windows", name=name)
        if name in LACKING:
            return WINDOWS[name]
    return real_import(name, globals, *arguments, **options)


def check_open(*paths: Any) -> None:
    """Refuse a path that is open or mapped in this process, or holds such a file."""
    maps = Path("/proc/self/maps").read_text("utf-8").splitlines() if os.path.exists("/proc/self/maps") else []
    busy = {line.split(maxsplit=5)[5] for line in maps if len(line.split(maxsplit=5)) == 6}
    for link in Path("/proc/self/fd").iterdir() if os.path.isdir("/proc/self/fd") else ():
        try:
            busy.add(os.readlink(link))
        except OSError:
            continue
    for path in map(os.path.realpath, paths):
        if held := [name for name in busy if name == path or name.startswith(path + os.sep)]:
            raise PermissionError(13, "open in this process, as Windows would say", held[0])


def guarded(function: Callable[..., Any], sources: int, is_rename: bool = False) -> Callable[..., Any]:
    """A function of files that refuses what Windows refuses when seq2att calls it; `sources` of its arguments count."""

    def call(*arguments: Any, **options: Any) -> Any:
        if is_ours(sys._getframe(1).f_globals) and not options.get("ignore_errors"):
            check_open(*arguments[:sources])
            if is_rename and os.path.exists(arguments[1]):
                raise FileExistsError(17, "rename onto it, as Windows would say", str(arguments[1]))
        return function(*arguments, **options)

    return call


WINDOWS = {name: Windows(__import__(name), lacking) for name, lacking in LACKING.items()}
real_import = builtins.__import__
builtins.__import__ = import_as_on_windows
for owner in (os, pathlib.Path, shutil):
    for name, sources in (("rename", 1), ("replace", 2), ("unlink", 1), ("remove", 1), ("rmdir", 1), ("rmtree", 1)):
        if hasattr(owner, name):
            setattr(owner, name, guarded(getattr(owner, name), sources, is_rename=name == "rename"))
warnings.filterwarnings("ignore", category=EncodingWarning)  # of other packages
warnings.filterwarnings("error", category=EncodingWarning, module=r"seq2att(\.|$)|__main__$")
