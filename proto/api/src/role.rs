//! Controller role that Morpheus requests from its switches.

use std::fmt;
use std::str::FromStr;

/// Controller roles of OpenFlow 1.3 (section 6.3.5).
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Role {
    /// All rights, shared with other controllers of the switch.
    #[default]
    Equal,
    /// All rights; a former master becomes a slave.
    Master,
    /// Read access without writes.
    Slave,
}

impl Role {
    /// Returns the name as people write it.
    pub fn name(self) -> &'static str {
        match self {
            Role::Equal => "equal",
            Role::Master => "master",
            Role::Slave => "slave",
        }
    }
}

impl fmt::Display for Role {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

impl FromStr for Role {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let all = [Role::Equal, Role::Master, Role::Slave];
        let found = all.into_iter().find(|role| role.name() == text);
        found.ok_or_else(|| format!("{text:?} is no role: equal, master or slave"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_word_that_is_no_role_is_named() {
        for role in [Role::Equal, Role::Master, Role::Slave] {
            assert_eq!(role.to_string().parse(), Ok(role));
        }
        for word in ["", "Master", "primary"] {
            let error = word.parse::<Role>().unwrap_err();
            assert!(
                error.starts_with(&format!("{word:?} is no role")),
                "{error}"
            );
        }
    }
}
