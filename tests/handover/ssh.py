#!/usr/bin/env python3
# SPDX-License-Identifier: AGPL-3.0-or-later
"""pam_reeve.so in the real sshd: who calls from an address may be a local user
where the map says so, and nobody else, whatever key they hold.
"""
import os
import subprocess

from harness import BUILD, STAFF, STUDENT, begin, check, configure, listening, program, read_file, reeved, run, skip, \
    start, until, users, write

TMP = begin("ssh")


def ssh(source, user):
    return subprocess.run(
        ["ssh", "-F", "none", "-p", "2222", "-b", source, "-i", f"{TMP}/id", "-o", "IdentitiesOnly=yes", "-o", "BatchMode=yes",
         "-o", "StrictHostKeyChecking=no", "-o", f"UserKnownHostsFile={TMP}/known", "-o", "ConnectTimeout=10",
         f"{user}@127.0.0.1", "id -un"], capture_output=True, text=True, timeout=60, stdin=subprocess.DEVNULL)


def prepare():
    """Two local users and sshd's PAM service, in a view of /etc that is ours alone."""
    users(["staff", "instrument"], 4001)
    pam = write("pam.sshd", f"""auth required pam_deny.so
account required {BUILD}/lib/.libs/pam_reeve.so map={TMP}/map socket={TMP}/run/api.sock
session required pam_permit.so
""")
    subprocess.run(["mount", "--bind", pam, "/etc/pam.d/sshd"], check=True)
    subprocess.run(["mount", "-t", "tmpfs", "run", "/run"], check=True)
    os.mkdir("/run/sshd", 0o755)
    write("map", "staff@example.edu =\nstaff@example.edu instrument\n", 0o644)
    for name in ("host", "id"):
        subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", f"{TMP}/{name}"], check=True)
    with open(f"{TMP}/id.pub", encoding="utf-8") as f:
        write("authorized", f.read())
    return write("sshd_config", f"""
Port 2222
ListenAddress 127.0.0.1
HostKey {TMP}/host
PidFile {TMP}/sshd.pid
UsePAM yes
UseDNS no
PasswordAuthentication no
KbdInteractiveAuthentication no
AuthorizedKeysFile {TMP}/authorized
StrictModes no
""")


def main():
    sshd = program("sshd")
    if not sshd or not program("ssh") or not os.path.exists("/etc/pam.d/sshd"):
        return skip("sshd", "openssh-server or openssh-client is not installed")
    with open(f"{BUILD}/lib/.libs/pam_reeve.so", "rb") as f:
        if b"__asan_init" in f.read():
            return skip("sshd", "an sshd that was built without sanitizers cannot load a module with them")
    services = {"app": {"listen": ["127.0.0.1:1100"], "upstream": ["http://127.0.0.1:3100"]}}
    grants = [{"src": ["staff@example.edu"], "dst": ["svc:app"], "ip": ["*"]}]
    config = prepare()
    if not reeved(configure([STAFF, STUDENT], services, grants), 1100):
        return
    start(sshd, "-D", "-e", "-f", config, name="sshd")
    if not until(30, lambda: listening(2222)):
        return check("sshd starts", False, read_file("sshd.log"))
    for source, user, who in (("127.0.0.3", "staff", "nobody"), ("127.0.0.2", "staff", "a student with the right key"),
                              ("127.0.0.1", "root", "staff as root")):
        r = ssh(source, user)
        check(f"{who} is refused", r.returncode != 0 and not r.stdout, r)
    for user in ("staff", "instrument"):
        r = ssh("127.0.0.1", user)
        check(f"staff may be {user}", r.stdout.strip() == user, (r, read_file("sshd.log")[-800:]))


run(main)
