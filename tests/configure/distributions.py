"""The files that distributions ship for logins, as trees: path -> text, or a link's target after "->".

Comments are shortened; directives, their order and the links are the distributions'.
"""

from __future__ import annotations

import pathlib

from pycoredump.configure.disk import Disk

Files = dict[str, str]

PASSWD = (
    "root:x:0:0:root:/root:/bin/bash\n"
    "daemon:x:1:1::/:/usr/sbin/nologin\n"
    "anna:x:1000:1000:Anna,,,:/home/anna:/bin/bash\n"
)
GROUP = "root:x:0:\nadm:x:4:anna\nanna:x:1000:\n"

COMMON: Files = {
    "/etc/passwd": PASSWD,
    "/etc/group": GROUP,
    "/usr/libexec/pycoredump": "#!/bin/sh\n",
    "/usr/lib/tmpfiles.d/legacy.conf": "",
    "/usr/lib/systemd/systemd": "ELF",
    "/usr/lib/systemd/system.conf": "[Manager]\n#DefaultLimitCORE=\n",
}

LIMITS_CONF = """\
# /etc/security/limits.conf
#
#<domain>      <type>  <item>         <value>
#

#*               soft    core            0
#root            hard    core            100000
#*               hard    rss             10000
#@student        hard    nproc           20

# End of file
"""

DEBIAN_SSHD_PAM = """\
# PAM configuration for the Secure Shell service
@include common-auth
account    required     pam_nologin.so
# account  required     pam_access.so
@include common-account
session [success=ok ignore=ignore module_unknown=ignore default=bad]        pam_selinux.so close
session    required     pam_loginuid.so
session    optional     pam_keyinit.so force revoke
@include common-session
session    optional     pam_motd.so  motd=/run/motd.dynamic
session    optional     pam_motd.so noupdate
session    optional     pam_mail.so standard noenv # [1]
# Limits
session    required     pam_limits.so
session    required     pam_env.so # [1]
session    required     pam_env.so user_readenv=1 envfile=/etc/default/locale
session [success=ok ignore=ignore module_unknown=ignore default=bad]        pam_selinux.so open
@include common-password
"""

DEBIAN_LOGIN_PAM = """\
auth       optional   pam_faildelay.so  delay=3000000
auth       requisite  pam_nologin.so
session [success=ok ignore=ignore module_unknown=ignore default=bad] pam_selinux.so close
session    required     pam_loginuid.so
session    optional   pam_motd.so motd=/run/motd.dynamic
session [success=ok ignore=ignore module_unknown=ignore default=bad] pam_selinux.so open
session       required   pam_env.so readenv=1
session       required   pam_env.so readenv=1 envfile=/etc/default/locale
@include common-auth
auth       optional   pam_group.so
session    required   pam_limits.so
session    optional   pam_lastlog.so
session    optional   pam_mail.so standard
session    optional   pam_keyinit.so force revoke
@include common-account
@include common-session
@include common-password
"""

DEBIAN_COMMON: Files = {
    "/etc/pam.d/common-auth": """\
auth	[success=1 default=ignore]	pam_unix.so nullok
auth	requisite			pam_deny.so
auth	required			pam_permit.so
""",
    "/etc/pam.d/common-account": """\
account	[success=1 new_authtok_reqd=done default=ignore]	pam_unix.so
account	requisite			pam_deny.so
account	required			pam_permit.so
""",
    "/etc/pam.d/common-session": """\
session	[default=1]			pam_permit.so
session	requisite			pam_deny.so
session	required			pam_permit.so
session	required	pam_unix.so
session	optional	pam_systemd.so
""",
    "/etc/pam.d/common-password": "password	[success=1 default=ignore]	pam_unix.so obscure yescrypt\n",
    "/etc/pam.d/other": "@include common-auth\n@include common-account\n@include common-session\n",
    "/usr/lib/x86_64-linux-gnu/security/pam_limits.so": "ELF",
}

DEBIAN_SSHD_CONFIG = """\
# This is the sshd server system-wide configuration file.

Include /etc/ssh/sshd_config.d/*.conf

#Port 22
#PermitRootLogin prohibit-password

# To disable tunneled clear text passwords, change to no here!
#PasswordAuthentication yes
KbdInteractiveAuthentication no

# Set this to 'yes' to enable PAM authentication
UsePAM yes

X11Forwarding yes
PrintMotd no
AcceptEnv LANG LC_*
Subsystem	sftp	/usr/lib/openssh/sftp-server

# Example of overriding settings on a per-user basis
#Match User anoncvs
#	X11Forwarding no
"""

DEBIAN: Files = {
    **COMMON,
    **DEBIAN_COMMON,
    "/etc/os-release": 'PRETTY_NAME="Debian GNU/Linux 12 (bookworm)"\nID=debian\n',
    "/etc/pam.d/sshd": DEBIAN_SSHD_PAM,
    "/etc/pam.d/login": DEBIAN_LOGIN_PAM,
    "/etc/security/limits.conf": LIMITS_CONF,
    "/etc/security/limits.d/.keep": "",
    "/etc/ssh/sshd_config": DEBIAN_SSHD_CONFIG,
    "/etc/ssh/sshd_config.d/.keep": "",
    "/etc/sysctl.d/99-sysctl.conf": "->../sysctl.conf",
    "/etc/sysctl.conf": "#kernel.domainname = example.com\n#net.ipv4.ip_forward=1\n",
    "/usr/lib/sysctl.d/50-pid-max.conf": "kernel.pid_max = 4194304\n",
}

# Its systemd package switches cores off by drop-ins; sshd's PAM service name is a setting; no 99-sysctl.conf.
DEBIAN_13: Files = {
    **{path: text for path, text in DEBIAN.items() if not path.endswith("sysctl.conf")},
    "/etc/os-release": 'PRETTY_NAME="Debian GNU/Linux 13 (trixie)"\nID=debian\nVERSION_ID="13"\n',
    "/etc/pam.d/login": DEBIAN_LOGIN_PAM.replace("session    optional   pam_lastlog.so\n", ""),
    "/etc/security/limits.d/10-coredump-debian.conf": (
        "*               soft    core            0\nroot            soft    core            0\n"
        "*               hard    core            infinity\nroot            hard    core            infinity\n"
    ),
    "/usr/lib/sysctl.d/10-coredump-debian.conf": "kernel.core_pattern=core\n",
    "/usr/lib/systemd/system.conf.d/10-coredump-debian.conf": "[Manager]\nDefaultLimitCORE=0:infinity\n",
}

UBUNTU_22: Files = {
    **DEBIAN,
    "/etc/os-release": 'PRETTY_NAME="Ubuntu 22.04 LTS"\nNAME="Ubuntu"\nID=ubuntu\nID_LIKE=debian\n',
    "/etc/ssh/sshd_config.d/50-cloud-init.conf": "PasswordAuthentication yes\n",
    "/etc/sysctl.d/10-kernel-hardening.conf": "kernel.kptr_restrict = 1\n",
    "/etc/sysctl.d/10-ptrace.conf": "kernel.yama.ptrace_scope = 1\n",
    "/usr/lib/sysctl.d/99-protect-links.conf": "fs.protected_regular = 1\nfs.protected_fifos = 1\n",
}

UBUNTU: Files = {
    **UBUNTU_22,
    "/etc/os-release": 'PRETTY_NAME="Ubuntu 24.04 LTS"\nNAME="Ubuntu"\nID=ubuntu\nID_LIKE=debian\n',
    "/etc/ssh/sshd_config.d/60-cloudimg-settings.conf": "PasswordAuthentication no\n",
    "/etc/ssh/sshd_config.d/50-cloud-init.conf": "PasswordAuthentication no\n",
    "/etc/sysctl.d/10-kernel-hardening.conf": "kernel.kptr_restrict = 1\n",
    "/usr/lib/sysctl.d/50-coredump.conf": "kernel.core_pattern=|/usr/lib/systemd/systemd-coredump %P %u\n",
}

FEDORA_STACK = """\
# Generated by authselect
# Do not modify this file manually, use authselect instead.
auth        required                                     pam_env.so
auth        sufficient                                   pam_unix.so nullok
auth        required                                     pam_deny.so
account     required                                     pam_unix.so
password    sufficient                                   pam_unix.so yescrypt shadow nullok use_authtok
session     optional                                     pam_keyinit.so revoke
session     required                                     pam_limits.so
-session    optional                                     pam_systemd.so
session     [success=1 default=ignore]                   pam_succeed_if.so service in crond quiet use_uid
session     required                                     pam_unix.so
session     optional                                     pam_sss.so
"""

FEDORA: Files = {
    **COMMON,
    "/etc/os-release": "->../usr/lib/os-release",
    "/usr/lib/os-release": 'NAME="Fedora Linux"\nID=fedora\n',
    "/etc/pam.d/sshd": """\
#%PAM-1.0
auth       substack     password-auth
auth       include      postlogin
account    required     pam_sepermit.so
account    required     pam_nologin.so
account    include      password-auth
password   include      password-auth
# pam_selinux.so close should be the first session rule
session    required     pam_selinux.so close
session    required     pam_loginuid.so
# pam_selinux.so open should only be followed by sessions to be executed in the user context
session    required     pam_selinux.so open env_params
session    required     pam_namespace.so
session    optional     pam_keyinit.so force revoke
session    optional     pam_motd.so
session    include      password-auth
session    include      postlogin
""",
    "/etc/pam.d/login": """\
#%PAM-1.0
auth       substack     system-auth
auth       include      postlogin
account    required     pam_nologin.so
account    include      system-auth
password   include      system-auth
session    required     pam_selinux.so close
session    required     pam_loginuid.so
session    required     pam_selinux.so open
session    required     pam_namespace.so
session    optional     pam_keyinit.so force revoke
session    include      system-auth
session    include      postlogin
-session   optional     pam_ck_connector.so
""",
    "/etc/pam.d/password-auth": "->/etc/authselect/password-auth",
    "/etc/pam.d/system-auth": "->/etc/authselect/system-auth",
    "/etc/pam.d/postlogin": "->/etc/authselect/postlogin",
    "/etc/authselect/password-auth": FEDORA_STACK,
    "/etc/authselect/system-auth": FEDORA_STACK,
    "/etc/authselect/postlogin": """\
# Generated by authselect
session     optional                   pam_umask.so silent
session     [success=1 default=ignore] pam_succeed_if.so service !~ gdm* service !~ su* quiet
session     [default=1]                pam_lastlog2.so nowtmp showfailed
session     optional                   pam_lastlog2.so silent noupdate showfailed
""",
    "/usr/lib64/security/pam_limits.so": "ELF",
    "/etc/security/limits.conf": LIMITS_CONF,
    "/etc/security/limits.d/20-nproc.conf": "*          soft    nproc     4096\nroot       soft    nproc     unlimited\n",
    "/etc/ssh/sshd_config": """\
#	$OpenBSD: sshd_config$

# To modify the system-wide sshd configuration, create a  *.conf  file under
#  /etc/ssh/sshd_config.d/  which will be automatically included below
Include /etc/ssh/sshd_config.d/*.conf

AuthorizedKeysFile	.ssh/authorized_keys
# WARNING: 'UsePAM no' is not supported in this build and may cause several problems.
#UsePAM no
Subsystem	sftp	/usr/libexec/openssh/sftp-server
""",
    "/etc/ssh/sshd_config.d/50-redhat.conf": """\
SyslogFacility AUTHPRIV
ChallengeResponseAuthentication no
GSSAPIAuthentication yes
GSSAPICleanupCredentials no
UsePAM yes
X11Forwarding yes
PrintMotd no
""",
    "/etc/sysctl.conf": "# System default settings live in /usr/lib/sysctl.d/00-system.conf.\n",
    "/etc/sysctl.d/99-sysctl.conf": "->../sysctl.conf",
    "/usr/lib/sysctl.d/50-coredump.conf": (
        "kernel.core_pattern=|/usr/lib/systemd/systemd-coredump %P %u %g %s %t %c %h\n"
        "kernel.core_pipe_limit=16\nfs.suid_dumpable=2\n"
    ),
    "/usr/lib/sysctl.d/50-default.conf": "-kernel.core_uses_pid = 1\nkernel.sysrq = 16\n",
}

# Its sshd_config sets UsePAM in the drop-in, its PAM stacks are authselect's; a file of ours must not be in their way.
RHEL_9: Files = {
    **FEDORA,
    "/usr/lib/os-release": 'NAME="Red Hat Enterprise Linux"\nID="rhel"\nID_LIKE="fedora"\nVERSION_ID="9.4"\n',
    "/etc/ssh/sshd_config": """\
# To modify the system-wide sshd configuration, create a  *.conf  file under
#  /etc/ssh/sshd_config.d/  which will be automatically included below
Include /etc/ssh/sshd_config.d/*.conf

AuthorizedKeysFile	.ssh/authorized_keys
#UsePAM no
Subsystem	sftp	/usr/libexec/openssh/sftp-server

# Example of overriding settings on a per-user basis
#Match User anoncvs
""",
    "/etc/ssh/sshd_config.d/50-redhat.conf": """\
# This system is following system-wide crypto policy.
Include /etc/crypto-policies/back-ends/opensshserver.config

SyslogFacility AUTHPRIV
ChallengeResponseAuthentication no
GSSAPIAuthentication yes
UsePAM yes
X11Forwarding yes
PrintMotd no
""",
    "/etc/crypto-policies/back-ends/opensshserver.config": "Ciphers aes256-gcm@openssh.com,aes128-gcm@openssh.com\n",
    "/etc/ssh/sshd_config.d/01-permitrootlogin.conf": "PermitRootLogin yes\n",
    "/usr/lib/sysctl.d/50-redhat.conf": "kernel.core_uses_pid = 1\n",
}

SUSE_SESSION = """\
#%PAM-1.0
# This file is autogenerated by pam-config. All changes will be overwritten.
session	optional	pam_systemd.so
session	required	pam_limits.so
session	required	pam_unix.so	try_first_pass
session	optional	pam_umask.so
session	optional	pam_env.so
"""

OPENSUSE: Files = {
    **COMMON,
    "/usr/lib/os-release": 'NAME="openSUSE Tumbleweed"\nID="opensuse-tumbleweed"\nID_LIKE="opensuse suse"\n',
    "/usr/lib/pam.d/sshd": """\
#%PAM-1.0
auth        requisite   pam_nologin.so
auth        include     common-auth
account     requisite   pam_nologin.so
account     include     common-account
password    include     common-password
session     required    pam_loginuid.so
session     include     common-session
session     optional    pam_lastlog2.so silent noupdate showfailed
session     optional    pam_keyinit.so   force revoke
""",
    "/usr/lib/pam.d/login": """\
#%PAM-1.0
auth     include        common-auth
account  include        common-account
password include        common-password
session  required       pam_loginuid.so
session  include        common-session
session  optional       pam_mail.so standard
""",
    "/etc/pam.d/common-session": "->common-session-pc",
    "/etc/pam.d/common-session-pc": SUSE_SESSION,
    "/etc/pam.d/common-auth": "auth	required	pam_env.so\nauth	required	pam_unix.so	try_first_pass\n",
    "/etc/pam.d/common-account": "account	required	pam_unix.so	try_first_pass\n",
    "/etc/pam.d/common-password": "password	required	pam_unix.so	use_authtok shadow\n",
    "/usr/lib/pam.d/other": "auth required pam_deny.so\nsession required pam_deny.so\n",
    "/usr/lib64/security/pam_limits.so": "ELF",
    "/usr/etc/security/limits.conf": LIMITS_CONF,
    "/etc/security/limits.d/.keep": "",
    "/usr/etc/ssh/sshd_config": """\
Include /etc/ssh/sshd_config.d/*.conf
Include /usr/etc/ssh/sshd_config.d/*.conf
AuthorizedKeysFile	.ssh/authorized_keys
UsePAM yes
X11Forwarding yes
Subsystem	sftp	/usr/lib/ssh/sftp-server
""",
    "/etc/ssh/sshd_config.d/.keep": "",
    "/usr/lib/sysctl.d/50-coredump.conf": "kernel.core_pattern=|/usr/lib/systemd/systemd-coredump %P %u\n",
}

# Vendor files in /usr/etc and /usr/lib; what pam-config has generated has been copied to /etc.
LEAP: Files = {
    **{
        path: text
        for path, text in OPENSUSE.items()
        if not path.startswith(("/usr/lib/pam.d", "/usr/etc/ssh"))
    },
    "/usr/lib/os-release": 'NAME="openSUSE Leap"\nID="opensuse-leap"\nID_LIKE="suse opensuse"\n',
    "/etc/pam.d/sshd": OPENSUSE["/usr/lib/pam.d/sshd"],
    "/etc/pam.d/login": OPENSUSE["/usr/lib/pam.d/login"],
    "/etc/pam.d/common-session-pc": SUSE_SESSION.replace("session	required	pam_limits.so\n", ""),
    "/etc/ssh/sshd_config": "AuthorizedKeysFile	.ssh/authorized_keys\nUsePAM yes\nX11Forwarding yes\nAcceptEnv LANG LC_CTYPE\n",
    "/usr/etc/security/limits.d/20-vendor.conf": "* hard core 0\nroot hard core 0\n",
}

ARCH: Files = {
    **COMMON,
    "/usr/lib/os-release": 'NAME="Arch Linux"\nID=arch\n',
    "/etc/pam.d/sshd": """\
#%PAM-1.0

auth      include   system-remote-login
account   include   system-remote-login
password  include   system-remote-login
session   include   system-remote-login
""",
    "/etc/pam.d/login": """\
#%PAM-1.0

auth       requisite    pam_nologin.so
auth       include      system-local-login
account    include      system-local-login
session    include      system-local-login
password   include      system-local-login
""",
    "/etc/pam.d/system-remote-login": "auth include system-login\naccount include system-login\n"
    "password include system-login\nsession include system-login\n",
    "/etc/pam.d/system-local-login": "auth include system-login\naccount include system-login\n"
    "password include system-login\nsession include system-login\n",
    "/etc/pam.d/system-login": """\
#%PAM-1.0

auth       required   pam_shells.so
auth       requisite  pam_nologin.so
auth       include    system-auth
account    required   pam_access.so
account    include    system-auth
password   include    system-auth
session    optional   pam_loginuid.so
session    optional   pam_keyinit.so       force revoke
session    include    system-auth
session    optional   pam_motd.so
session    optional   pam_mail.so          dir=/var/spool/mail standard quiet
session    optional   pam_umask.so
-session   optional   pam_systemd.so
session    required   pam_env.so
""",
    "/etc/pam.d/system-auth": """\
#%PAM-1.0

auth       required                    pam_faillock.so      preauth
-auth      [success=2 default=ignore]  pam_systemd_home.so
auth       [success=1 default=bad]     pam_unix.so          try_first_pass nullok
auth       [default=die]               pam_faillock.so      authfail
auth       optional                    pam_permit.so
-account   [success=1 default=ignore]  pam_systemd_home.so
account    required                    pam_unix.so
-session   optional                    pam_systemd_home.so
session    required                    pam_limits.so
session    required                    pam_unix.so
session    optional                    pam_permit.so
""",
    "/usr/lib/security/pam_limits.so": "ELF",
    "/etc/security/limits.conf": LIMITS_CONF,
    "/etc/ssh/sshd_config": """\
Include /etc/ssh/sshd_config.d/*.conf
AuthorizedKeysFile	.ssh/authorized_keys
Subsystem	sftp	/usr/lib/ssh/sftp-server
""",
    "/etc/ssh/sshd_config.d/99-archlinux.conf": "KbdInteractiveAuthentication no\nUsePAM yes\nPrintMotd no\n",
}

# musl, busybox, OpenRC: no PAM unless linux-pam is installed, and no systemd.
ALPINE: Files = {
    **{path: COMMON[path] for path in ("/etc/passwd", "/etc/group", "/usr/libexec/pycoredump")},
    "/etc/os-release": 'NAME="Alpine Linux"\nID=alpine\nVERSION_ID=3.20.0\n',
    "/etc/ssh/sshd_config": "Include /etc/ssh/sshd_config.d/*.conf\nAuthorizedKeysFile	.ssh/authorized_keys\nSubsystem	sftp	internal-sftp\n",
    "/etc/ssh/sshd_config.d/.keep": "",
    "/etc/sysctl.conf": "# content of this file will override /etc/sysctl.d/*\n",
    "/etc/sysctl.d/.keep": "",
    "/usr/lib/sysctl.d/00-alpine.conf": "kernel.panic = 120\nfs.protected_symlinks = 1\n",
}

ALPINE_PAM: Files = {
    **ALPINE,
    "/etc/pam.d/sshd": "#%PAM-1.0\nauth include base-auth\naccount include base-account\nsession include base-session\n",
    "/etc/pam.d/login": "#%PAM-1.0\nauth include base-auth\naccount include base-account\nsession include base-session\n",
    "/etc/pam.d/base-auth": "auth required pam_env.so\nauth required pam_unix.so nullok\n",
    "/etc/pam.d/base-account": "account required pam_nologin.so\naccount required pam_unix.so\n",
    "/etc/pam.d/base-session": "session required pam_env.so\nsession required pam_limits.so\nsession required pam_unix.so\n",
    "/lib/security/pam_limits.so": "ELF",
    "/etc/security/limits.conf": LIMITS_CONF,
    "/etc/ssh/sshd_config": "UsePAM yes\nAuthorizedKeysFile	.ssh/authorized_keys\n",
}

OLD_SSHD_CONFIG = """\
# written before Include existed
Port 22
Protocol 2
HostKey /etc/ssh/ssh_host_rsa_key
UsePrivilegeSeparation yes
#UsePAM yes
UsePAM no
Match Address 10.0.0.0/8,127.0.0.0/8
	PasswordAuthentication yes
Match User sftp
	ForceCommand internal-sftp
	ChrootDirectory %h"""

NO_PAM: Files = {
    **DEBIAN,
    "/etc/pam.d/sshd": DEBIAN_SSHD_PAM.replace("session    required     pam_limits.so", "# removed"),
    "/etc/pam.d/login": DEBIAN_LOGIN_PAM.replace(
        "session    required   pam_limits.so", "#session required pam_limits.so"
    ),
}

HARDENED: Files = {
    **FEDORA,
    "/etc/ssh/sshd_config": OLD_SSHD_CONFIG,
    "/etc/security/limits.conf": "*\thard\tcore\t0\r\nroot -\tcore\t0\r\n",
    "/etc/security/limits.d/10.hardcore.conf": "# no cores\n* hard core 0\n",
    "/etc/security/limits.d/99-site.conf": "root soft core 0",
    "/etc/sysctl.conf": "fs.suid_dumpable = 0\nkernel.core_pattern=|/bin/false",
    "/etc/sysctl.d/99-hardening.conf": "kernel/core_uses_pid=0\n;comment\n-fs.suid_dumpable=0\n",
    "/etc/sysctl.d/zzz-last.conf": "kernel.core_pattern = core\n",
    "/etc/systemd/system.conf.d/50-nocore.conf": "[Manager]\nDefaultLimitCORE=0\n",
}

# What the CIS benchmarks and their tools write on a Debian.
CIS: Files = {
    **DEBIAN_13,
    "/etc/security/limits.conf": LIMITS_CONF.replace("# End of file", "* hard core 0\n\n# End of file"),
    "/etc/security/limits.d/60-limits.conf": "# CIS 1.5.2\n* hard core 0\nroot hard core 0\nroot soft core 0\n",
    "/etc/ssh/sshd_config": """\
# hardened
Include /etc/ssh/sshd_config.d/*.conf
Include /etc/ssh/local/*.conf
Port 22
UsePAM yes
Match User sftponly
	ChrootDirectory /srv/sftp/%u
	ForceCommand internal-sftp
Match Group admins Address 10.0.0.0/8
	AllowTcpForwarding yes
""",
    "/etc/ssh/sshd_config.d/00-cis.conf": "LogLevel VERBOSE\nUsePAM no\nMaxAuthTries 4\nMatch User root\n  Banner none\n",
    "/etc/ssh/sshd_config.d/99-last.conf": "UsePAM yes\n",
    "/etc/sysctl.d/60-fs_sysctl.conf": "fs.suid_dumpable = 0\n",
    "/etc/sysctl.d/99-zz-nocore.conf": "kernel.core_pattern=|/bin/false\nkernel.core_uses_pid = 0\n",
    "/etc/sysctl.conf": "fs.suid_dumpable = 0\n",
    "/etc/systemd/coredump.conf": "[Coredump]\nStorage=none\nProcessSizeMax=0\n",
    "/etc/systemd/coredump.conf.d/60-coredump.conf": "[Coredump]\nStorage=none\nProcessSizeMax=0\n",
    "/etc/systemd/system.conf.d/60-nocore.conf": "[Manager]\nDefaultLimitCORE=0\nDumpCore=no\n",
    "/etc/profile.d/nocore.sh": "ulimit -S -c 0 > /dev/null 2>&1\n",
}

SKIPPING: Files = {
    **DEBIAN,
    # a sufficient module and a jump before pam_limits, and a continued line
    "/etc/pam.d/sshd": """\
auth required pam_unix.so
session [success=2 default=ignore] \\
    pam_succeed_if.so user ingroup staff
session required pam_env.so
session sufficient pam_systemd.so
session required pam_limits.so
session required pam_unix.so
""",
    "/etc/pam.d/login": "auth required pam_unix.so\nsession substack inner\nsession optional pam_mail.so",
    "/etc/pam.d/inner": "session sufficient pam_permit.so\nsession required pam_limits.so\n",
}

UNENDED: Files = {
    path: text if text.startswith("->") or path in ("/etc/passwd", "/etc/group") else text.removesuffix("\n")
    for path, text in NO_PAM.items()
} | {"/etc/ssh/sshd_config": "Port 22\nUsePAM no"}

CRLF: Files = {
    **NO_PAM,
    "/etc/ssh/sshd_config": OLD_SSHD_CONFIG.replace("\n", "\r\n"),
    "/etc/security/limits.conf": LIMITS_CONF.replace("\n", "\r\n"),
    "/etc/sysctl.conf": "kernel.core_uses_pid = 0\r\n\r\n# end\r\n",
}

LONG: Files = {
    **NO_PAM,
    "/etc/security/limits.conf": "".join(f"user{n} soft nofile {n}\n" for n in range(10000)),
    "/etc/ssh/sshd_config": "".join(f"# line {n}\n" for n in range(10000)) + "UsePAM no\n",
    "/etc/sysctl.conf": "".join(f"net.ipv4.conf.eth{n}.rp_filter = 1\n" for n in range(10000))
    + "fs.suid_dumpable=0\n",
    "/etc/pam.d/sshd": DEBIAN_SSHD_PAM.replace("pam_limits.so", "pam_env.so")
    + "session optional pam_env.so\n" * 10000,
}

EMPTY: Files = {
    **COMMON,
    "/etc/security/limits.conf": "",
    "/etc/ssh/sshd_config": "",
    "/usr/lib/security/pam_limits.so": "ELF",
    "/etc/pam.d/sshd": "session required pam_unix.so\n",
    "/etc/pam.d/login": "session required pam_unix.so",
}

ALL = {
    "Debian 12": DEBIAN,
    "Debian 13": DEBIAN_13,
    "Ubuntu 22.04": UBUNTU_22,
    "Ubuntu 24.04": UBUNTU,
    "Fedora": FEDORA,
    "RHEL 9": RHEL_9,
    "openSUSE": OPENSUSE,
    "openSUSE Leap": LEAP,
    "Arch": ARCH,
    "Alpine": ALPINE,
    "Alpine with PAM": ALPINE_PAM,
    "CIS": CIS,
    "Debian without pam_limits": NO_PAM,
    "hardened": HARDENED,
    "skipping stacks": SKIPPING,
    "no last line end": UNENDED,
    "CR LF": CRLF,
    "10,000 lines": LONG,
    "next to nothing": EMPTY,
}


class Quick(Disk):
    """A disk that is not waited for: what reaches it is not what these tests are about."""

    def flush(self, fd: int) -> None:
        pass


def lay(root: pathlib.Path, files: Files) -> pathlib.Path:
    """Write a tree of files below a directory."""
    for path, text in files.items():
        real = root / path.lstrip("/")
        real.parent.mkdir(parents=True, exist_ok=True)
        if text.startswith("->"):
            real.symlink_to(text[2:])
        else:
            real.write_bytes(text.encode("utf-8", "surrogateescape"))
    for program in ("usr/libexec/pycoredump", "usr/lib/systemd/systemd"):
        if (root / program).exists():
            (root / program).chmod(0o755)
    return root


def snapshot(root: pathlib.Path) -> dict[str, tuple[int, bytes]]:
    """Everything below a directory: mode, and contents or target."""
    found = {}
    for path in sorted(root.rglob("*")):
        status = path.lstat()
        name = str(path.relative_to(root))
        if path.is_symlink():
            found[name] = (0, bytes(path.readlink()))
        else:
            found[name] = (status.st_mode, path.read_bytes() if path.is_file() else b"")
    return found
