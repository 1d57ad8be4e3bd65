//! An instance of Dovecot of our own: its configuration, tuned for POP3.

use std::fs;
use std::io;
use std::net::TcpListener;
use std::os::unix::fs::MetadataExt;
use std::path::Path;
use std::process::{Command, Stdio};

/// Dovecot's version as `dovecot --version` tells it, if it is installed.
pub fn version() -> Option<String> {
    let output = Command::new("dovecot")
        .arg("--version")
        .stderr(Stdio::null())
        .output()
        .ok()?;
    let text = String::from_utf8(output.stdout).ok()?;
    Some(text.split(' ').next()?.trim().to_owned()).filter(|version| !version.is_empty())
}

/// Who reads the mail: Dovecot refuses to do so as root, so that the system
/// user `mail` does then; else whoever runs the benchmark.
struct Owner {
    uid: u32,
    gid: u32,
    login: String,
    internal: String,
    group: String,
}

/// Looks `key` up in column `column` of a file like /etc/passwd.
fn entry(path: &str, column: usize, key: &str) -> Option<Vec<String>> {
    let text = fs::read_to_string(path).ok()?;
    let mut lines = text
        .lines()
        .map(|line| line.split(':').map(str::to_owned).collect());
    lines.find(|fields: &Vec<String>| fields.get(column).is_some_and(|field| field == key))
}

fn owner() -> io::Result<Owner> {
    let missing = |what: &str| io::Error::other(format!("no {what}"));
    let (uid, gid) = fs::metadata("/proc/self").map(|own| (own.uid(), own.gid()))?;
    if uid != 0 {
        let user = entry("/etc/passwd", 2, &uid.to_string()).ok_or_else(|| missing("user name"))?;
        let group =
            entry("/etc/group", 2, &gid.to_string()).ok_or_else(|| missing("group name"))?;
        let (login, internal) = (user[0].clone(), user[0].clone());
        return Ok(Owner {
            uid,
            gid,
            login,
            internal,
            group: group[0].clone(),
        });
    }
    let mail = entry("/etc/passwd", 0, "mail").ok_or_else(|| missing("user mail"))?;
    let id = |field: &String| field.parse().map_err(|_| missing("id of the user mail"));
    Ok(Owner {
        uid: id(&mail[2])?,
        gid: id(&mail[3])?,
        login: "dovenull".to_owned(),
        internal: "dovecot".to_owned(),
        group: "dovecot".to_owned(),
    })
}

/// Gives the directories (not the files, which are links) to the mail's owner:
/// Dovecot keeps its indexes there.
fn own(tree: &Path, owner: &Owner) -> io::Result<()> {
    for entry in fs::read_dir(tree)? {
        let entry = entry?;
        if entry.file_type()?.is_dir() && entry.metadata()?.uid() != owner.uid {
            for part in ["cur", "new", "tmp"] {
                std::os::unix::fs::chown(
                    entry.path().join(part),
                    Some(owner.uid),
                    Some(owner.gid),
                )?;
            }
            std::os::unix::fs::chown(entry.path(), Some(owner.uid), Some(owner.gid))?;
        }
    }
    Ok(())
}

/// Writes the configuration below `dir` for the mailboxes in `mail`, whose
/// users are in its file `users`, with the certificate in `certificate`; returns the port, and
/// that of implicit TLS.
///
/// # Errors
/// The file system's; no user whom Dovecot would read mail as.
pub fn configure(dir: &Path, mail: &Path, certificate: &Path) -> io::Result<(u16, u16)> {
    let owner = owner()?;
    fs::create_dir_all(dir)?;
    own(&mail.join("dovecot"), &owner)?;
    let users = fs::read_to_string(mail.join("users"))?;
    let users: String = users
        .lines()
        .map(|user| format!("{user}:{{PLAIN}}{}\n", crate::mailbox::PASSWORD))
        .collect();
    fs::write(dir.join("users"), users)?;
    // Both at once, else it could be the same one.
    let free = [
        TcpListener::bind("127.0.0.1:0")?,
        TcpListener::bind("127.0.0.1:0")?,
    ];
    let (port, tls_port) = (free[0].local_addr()?.port(), free[1].local_addr()?.port());
    drop(free);
    let cores = std::thread::available_parallelism().map_or(2, usize::from);
    let is_2_4 = version().is_some_and(|version| version.starts_with("2.4"));
    let tls = tls(certificate, is_2_4);
    let text = if version().is_some_and(|version| version.starts_with("2.4")) {
        settings_2_4(dir, mail, &owner)
    } else {
        settings_2_3(dir, mail, &owner)
    };
    fs::write(
        dir.join("dovecot.conf"),
        text + &tls + &services(&owner, (port, tls_port), cores),
    )?;
    Ok((port, tls_port))
}

fn tls(certificate: &Path, is_2_4: bool) -> String {
    let dir = certificate.display();
    match is_2_4 {
        true => format!(
            "ssl = yes\nssl_server_cert_file = {dir}/cert.pem\nssl_server_key_file = {dir}/key.pem\n"
        ),
        false => format!("ssl = yes\nssl_cert = <{dir}/cert.pem\nssl_key = <{dir}/key.pem\n"),
    }
}

fn settings_2_3(dir: &Path, mail: &Path, owner: &Owner) -> String {
    let (dir, mail) = (dir.display(), mail.display());
    let Owner { uid, gid, .. } = owner;
    format!(
        "base_dir = {dir}/run\n\
         state_dir = {dir}/state\n\
         log_path = {dir}/dovecot.log\n\
         info_log_path = /dev/null\n\
         disable_plaintext_auth = no\n\
         mail_location = maildir:{mail}/dovecot/%u\n\
         passdb {{\n  driver = passwd-file\n  args = {dir}/users\n}}\n\
         userdb {{\n  driver = static\n  args = uid={uid} gid={gid} home={mail}/dovecot/%u\n}}\n"
    )
}

/// The same in the language of 2.4.
fn settings_2_4(dir: &Path, mail: &Path, owner: &Owner) -> String {
    let (dir, mail) = (dir.display(), mail.display());
    let Owner { uid, gid, .. } = owner;
    format!(
        "dovecot_config_version = 2.4.0\n\
         dovecot_storage_version = 2.4.0\n\
         base_dir = {dir}/run\n\
         state_dir = {dir}/state\n\
         log_path = {dir}/dovecot.log\n\
         info_log_path = /dev/null\n\
         auth_allow_cleartext = yes\n\
         mail_driver = maildir\n\
         mail_path = {mail}/dovecot/%{{user}}\n\
         mail_home = {mail}/dovecot/%{{user}}\n\
         passdb passwd-file {{\n  passwd_file_path = {dir}/users\n}}\n\
         userdb static {{\n  fields {{\n    uid = {uid}\n    gid = {gid}\n  }}\n}}\n"
    )
}

/// What both versions write alike: processes that serve many sessions, as many
/// as there are cores, and no work that POP3 clients do not ask for.
fn services(owner: &Owner, (port, tls_port): (u16, u16), cores: usize) -> String {
    let Owner {
        login,
        internal,
        group,
        ..
    } = owner;
    format!(
        "instance_name = pop3d-bench\n\
         protocols = pop3\n\
         listen = 127.0.0.1\n\
         auth_mechanisms = plain\n\
         auth_cache_size = 10M\n\
         default_login_user = {login}\n\
         default_internal_user = {internal}\n\
         default_internal_group = {group}\n\
         first_valid_uid = 1\n\
         first_valid_gid = 1\n\
         maildir_very_dirty_syncs = yes\n\
         mail_fsync = never\n\
         pop3_no_flag_updates = yes\n\
         mail_max_userip_connections = 0\n\
         default_vsz_limit = 4G\n\
         service pop3-login {{\n\
         \x20 chroot =\n\
         \x20 service_count = 0\n\
         \x20 process_min_avail = {cores}\n\
         \x20 process_limit = {cores}\n\
         \x20 client_limit = 12000\n\
         \x20 inet_listener pop3 {{\n    port = {port}\n  }}\n\
         \x20 inet_listener pop3s {{\n    port = {tls_port}\n    ssl = yes\n  }}\n\
         }}\n\
         service pop3 {{\n\
         \x20 service_count = 0\n\
         \x20 process_min_avail = {cores}\n\
         \x20 process_limit = 64\n\
         \x20 client_limit = 1000\n\
         }}\n\
         service auth {{\n  client_limit = 19000\n}}\n\
         service anvil {{\n  chroot =\n  client_limit = 19000\n}}\n"
    )
}
