//! User at the other end of the management socket.

use tonic::Request;
use tonic::transport::server::UdsConnectInfo;

/// Name and uid of the calling user, for the history; empty where the transport does not tell.
pub(super) fn user_name<T>(call: &Request<T>) -> String {
    let info = call.extensions().get::<UdsConnectInfo>();
    let Some(uid) = info.and_then(|info| info.peer_cred).map(|cred| cred.uid()) else {
        return String::new();
    };
    let users = std::fs::read_to_string("/etc/passwd").unwrap_or_default();
    match name_of(&users, uid) {
        Some(name) => format!("{name} ({uid})"),
        None => format!("uid {uid}"),
    }
}

fn name_of(users: &str, uid: u32) -> Option<&str> {
    let uid = uid.to_string();
    users.lines().find_map(|line| {
        let mut fields = line.split(':');
        let name = fields.next()?;
        (fields.nth(1)? == uid).then_some(name)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_user_is_found_by_uid() {
        let users =
            "root:x:0:0:root:/root:/bin/bash\nnonsense\nana:x:1000:1000::/home/ana:/bin/sh\n";
        assert_eq!(name_of(users, 0), Some("root"));
        assert_eq!(name_of(users, 1000), Some("ana"));
        assert_eq!(name_of(users, 100), None);
    }
}
