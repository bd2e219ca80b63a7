//! Who is at the other end of the management socket.

use tonic::Request;
use tonic::transport::server::UdsConnectInfo;

/// The user's name and number, for the history; empty where the transport does not say.
pub(super) fn name<T>(call: &Request<T>) -> String {
    let info = call.extensions().get::<UdsConnectInfo>();
    let Some(uid) = info.and_then(|info| info.peer_cred).map(|cred| cred.uid()) else {
        return String::new();
    };
    let users = std::fs::read_to_string("/etc/passwd").unwrap_or_default();
    match user(&users, uid) {
        Some(name) => format!("{name} ({uid})"),
        None => format!("uid {uid}"),
    }
}

fn user(users: &str, uid: u32) -> Option<&str> {
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
    fn a_user_is_found_by_its_number() {
        let users =
            "root:x:0:0:root:/root:/bin/bash\nnonsense\nana:x:1000:1000::/home/ana:/bin/sh\n";
        assert_eq!(user(users, 0), Some("root"));
        assert_eq!(user(users, 1000), Some("ana"));
        assert_eq!(user(users, 100), None);
    }
}
