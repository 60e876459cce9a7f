//! Whether a runtime could start a program: the look that `hold` takes when it becomes it, without becoming it.

use std::ffi::OsString;
use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;

use super::{RuntimeSetup, launch};

/// Where execvp(3) looks when there is no PATH.
const PATH_DEFAULT: &str = "/bin:/usr/bin";

impl RuntimeSetup {
    /// What its agent is started with; `None` if nobody named a program, or only a prompt would.
    pub fn agent_program(&self) -> Option<&str> {
        let own = launch::program(self.adapter).0;
        self.argv.first().map(String::as_str).or(own).filter(|program| !program.contains("{prompt}"))
    }

    /// Whether attempts in its directory would find `program`: by its path, or on their PATH.
    pub fn finds(&self, program: &str) -> bool {
        self.finds_from(self.cwd.as_deref(), program)
    }

    /// As [`RuntimeSetup::finds`], of an attempt in this directory.
    pub(super) fn finds_from(&self, cwd: Option<&Path>, program: &str) -> bool {
        let base = cwd.unwrap_or(Path::new(""));
        if program.contains('/') {
            return is_program(&base.join(program));
        }
        let own = self.env.get("PATH").map(OsString::from);
        let path = own.or_else(|| std::env::var_os("PATH")).unwrap_or_else(|| PATH_DEFAULT.into());
        std::env::split_paths(&path).any(|dir| is_program(&base.join(dir).join(program)))
    }
}

fn is_program(path: &Path) -> bool {
    fs::metadata(path).is_ok_and(|found| found.is_file() && found.permissions().mode() & 0o111 != 0)
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::super::Adapter;
    use super::*;

    fn runtime(adapter: Adapter, argv: &[&str]) -> RuntimeSetup {
        let argv = argv.iter().map(|word| (*word).to_owned()).collect();
        RuntimeSetup { adapter, argv, resume_argv: None, env: BTreeMap::new(), cwd: None }
    }

    #[test]
    fn an_agent_s_program_is_its_argv_s_or_the_adapter_s_own() {
        assert_eq!(runtime(Adapter::Claude, &[]).agent_program(), Some("claude"));
        assert_eq!(runtime(Adapter::Claude, &["/opt/claude", "--fast"]).agent_program(), Some("/opt/claude"));
        assert_eq!(runtime(Adapter::Plain, &[]).agent_program(), None);
    }

    #[test]
    fn a_program_is_an_executable_file_by_its_path_or_on_the_path() {
        let dir = tempfile::tempdir().unwrap();
        let (program, text) = (dir.path().join("tool"), dir.path().join("text"));
        fs::write(&program, "#!/bin/sh\n").unwrap();
        fs::set_permissions(&program, fs::Permissions::from_mode(0o755)).unwrap();
        fs::write(&text, "").unwrap();
        let mut runtime = runtime(Adapter::Plain, &[]);
        assert!(runtime.finds("sh") && runtime.finds(program.to_str().unwrap()));
        assert!(!runtime.finds("tool") && !runtime.finds("./tool") && !runtime.finds("text"));
        runtime.env.insert("PATH".to_owned(), dir.path().display().to_string());
        assert!(runtime.finds("tool"), "its own PATH counts");
        assert!(!runtime.finds("sh") && !runtime.finds("text"));
        runtime.cwd = Some(dir.path().to_owned());
        assert!(runtime.finds("./tool") && !runtime.finds("./text"));
    }
}
