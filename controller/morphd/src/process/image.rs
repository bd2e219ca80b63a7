//! A program with its arguments and environment, as execve(2) takes them.
//!
//! std executes programs by execvp(3), which has `/bin/sh` read a file that the kernel does not know: the shell's complaints about
//! the bytes of a program for another machine would stand where "Exec format error" belongs.

use std::ffi::{CString, OsString, c_char};
use std::io;
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::path::Path;

/// Text of execve(2). The arrays point into the texts beside them, and end with a null pointer.
pub(super) struct Image {
    path: CString,
    _texts: Vec<CString>,
    arguments: Vec<*const c_char>,
    environment: Vec<*const c_char>,
}

// SAFETY: the pointers lead to buffers that the same value owns and that nothing changes.
#[allow(unsafe_code)]
unsafe impl Send for Image {}
// SAFETY: as for `Send`.
#[allow(unsafe_code)]
unsafe impl Sync for Image {}

impl Image {
    /// Puts together a program with morphd's environment and these variables.
    pub(super) fn new(
        exec: &Path,
        args: &[OsString],
        variables: &[(&'static str, String)],
    ) -> io::Result<Self> {
        let path = CString::new(exec.as_os_str().as_bytes())?;
        let mut texts = vec![path.clone()];
        for arg in args {
            texts.push(CString::new(arg.as_bytes())?);
        }
        let arguments = pointers(&texts);
        let own = std::env::vars_os().filter(|(name, _)| {
            let is_set = |(variable, _): &(&str, String)| name == variable;
            !variables.iter().any(is_set)
        });
        let variables = variables
            .iter()
            .map(|(name, value)| (OsString::from(name), value.into()));
        let mut environment = Vec::new();
        for (mut text, value) in own.chain(variables) {
            text.push("=");
            text.push(value);
            environment.push(CString::new(text.into_vec())?);
        }
        let image = Image {
            path,
            arguments,
            environment: pointers(&environment),
            _texts: texts.into_iter().chain(environment).collect(),
        };
        Ok(image)
    }

    /// Replaces the process by the program; returns why that is not possible. One system call, which allocates nothing.
    #[allow(unsafe_code)]
    pub(super) fn execute(&self) -> io::Error {
        let (arguments, environment) = (self.arguments.as_ptr(), self.environment.as_ptr());
        // SAFETY: all three are texts, or arrays of texts, that end with zeros and live as long as `self`.
        unsafe { libc::execve(self.path.as_ptr(), arguments, environment) };
        io::Error::last_os_error()
    }
}

fn pointers(texts: &[CString]) -> Vec<*const c_char> {
    let pointers = texts.iter().map(|text| text.as_ptr());
    pointers.chain([std::ptr::null()]).collect()
}
