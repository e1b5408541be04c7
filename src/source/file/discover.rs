//! Which files the patterns mean, and which directories have to be watched for them.

use std::collections::{BTreeSet, HashMap, HashSet};
use std::fs::{self, Metadata};
use std::os::unix::fs::DirEntryExt;
use std::path::{Component, Path, PathBuf};

use glob::{MatchOptions, Pattern, glob_with};

use crate::source::file::Error;

/// As a shell matches: `*` stays within a directory and leaves hidden files out.
const OPTIONS: MatchOptions = MatchOptions {
    case_sensitive: true,
    require_literal_separator: true,
    require_literal_leading_dot: true,
};

/// The patterns of a source.
#[derive(Debug)]
pub(super) struct Patterns {
    include: Vec<Pattern>,
    exclude: Vec<Pattern>,
    /// Directories that could not be listed at the last scan.
    unreadable: HashSet<PathBuf>,
}

/// A regular file that a pattern means.
#[derive(Debug)]
pub(super) struct Found {
    /// Its path; of a symbolic link, that of its target.
    pub(super) path: PathBuf,
    /// What the file system says of it.
    pub(super) metadata: Metadata,
}

/// Where changes show that concern the patterns.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Directories {
    /// Directories that may hold files of the source.
    pub(super) holding: BTreeSet<PathBuf>,
    /// Where a directory that is not there yet would appear.
    pub(super) above: BTreeSet<PathBuf>,
}

impl Patterns {
    /// Compiles the patterns. Relative ones count from the working directory; an exclusion
    /// without a slash is compared with the file's name alone.
    pub(super) fn new(paths: &[String], exclude: &[String]) -> Result<Self, Error> {
        let include =
            paths.iter().map(|path| compile(&absolute(path)?)).collect::<Result<_, _>>()?;
        let exclude = exclude.iter().map(|pattern| {
            if pattern.contains('/') { compile(&absolute(pattern)?) } else { compile(pattern) }
        });
        Ok(Self {
            include,
            exclude: exclude.collect::<Result<_, _>>()?,
            unreadable: HashSet::new(),
        })
    }

    /// Whether a file at `path` belongs to the source.
    pub(super) fn matches(&self, path: &Path) -> bool {
        let included = self.include.iter().any(|pattern| pattern.matches_path_with(path, OPTIONS));
        included && !self.excludes(path)
    }

    /// Whether the patterns say anything of a file at `path`: that it belongs, or that it does not.
    pub(super) fn means(&self, path: &Path) -> bool {
        self.excludes(path) || self.matches(path)
    }

    fn excludes(&self, path: &Path) -> bool {
        let name = path.file_name().map(Path::new);
        self.exclude.iter().any(|pattern| {
            let by_name = !pattern.as_str().contains('/');
            let subject = if by_name { name } else { Some(path) };
            subject.is_some_and(|subject| pattern.matches_path_with(subject, OPTIONS))
        })
    }

    /// The regular files that are there now.
    pub(super) fn scan(&mut self) -> Vec<Found> {
        let mut found = Vec::new();
        let mut unreadable = HashSet::new();
        for pattern in &self.include {
            let Ok(paths) = glob_with(pattern.as_str(), OPTIONS) else { continue };
            for path in paths {
                match path {
                    Ok(path) if self.excludes(&path) => {}
                    Ok(path) => found.extend(resolve(path)),
                    Err(error) => {
                        let path = error.path().to_owned();
                        if !self.unreadable.contains(&path) {
                            let path = path.display().to_string();
                            let path = path.escape_debug();
                            tracing::warn!(%path, error = %error.error(), "cannot list a directory");
                        }
                        unreadable.insert(path);
                    }
                }
            }
        }
        self.unreadable = unreadable;
        found
    }

    /// The directories as they are now.
    pub(super) fn directories(&self) -> Directories {
        let mut directories = Directories::default();
        for pattern in &self.include {
            let Some(parent) = Path::new(pattern.as_str()).parent() else { continue };
            let base = literal_start(parent);
            add_nearest(&base, &mut directories);
            // Each level with a wildcard can get directories that were not there before.
            let mut level = base.clone();
            for component in parent.components().skip(base.components().count()) {
                level.push(component);
                let Some(level) = level.to_str() else { break };
                let Ok(paths) = glob_with(level, OPTIONS) else { break };
                directories.holding.extend(paths.flatten().filter(|path| path.is_dir()));
            }
        }
        let holding = &directories.holding;
        directories.above.retain(|above| !holding.contains(above));
        directories
    }
}

/// The directories that the patterns `paths` begin with, before their first wildcard.
pub(super) fn starts(paths: &[String]) -> Result<Vec<PathBuf>, Error> {
    let start = |path: &String| {
        let pattern = absolute(path)?;
        Ok(Path::new(&pattern).parent().map(literal_start).unwrap_or_default())
    };
    paths.iter().map(start).collect()
}

/// The directories where files of the patterns are now, links followed.
pub(super) fn present(paths: &[String], exclude: &[String]) -> Result<BTreeSet<PathBuf>, Error> {
    let mut patterns = Patterns::new(paths, exclude)?;
    let mut present = patterns.directories().holding;
    let found = patterns.scan();
    present.extend(found.iter().filter_map(|found| found.path.parent()).map(Path::to_owned));
    Ok(present.iter().filter_map(|directory| fs::canonicalize(directory).ok()).collect())
}

/// The files of `directories` by inode number. One listing serves all that are looked for.
pub(super) fn by_inode<'a>(
    directories: impl IntoIterator<Item = &'a Path>,
) -> HashMap<u64, Vec<PathBuf>> {
    let mut inodes: HashMap<u64, Vec<PathBuf>> = HashMap::new();
    for directory in directories {
        let Ok(entries) = fs::read_dir(directory) else { continue };
        for entry in entries.flatten() {
            inodes.entry(entry.ino()).or_default().push(entry.path());
        }
    }
    inodes
}

fn compile(pattern: &str) -> Result<Pattern, Error> {
    Pattern::new(pattern).map_err(|source| Error::Pattern { pattern: pattern.to_owned(), source })
}

fn absolute(pattern: &str) -> Result<String, Error> {
    if pattern.starts_with('/') {
        return Ok(pattern.to_owned());
    }
    let here = std::env::current_dir().map_err(Error::Directory)?;
    let pattern = pattern.strip_prefix("./").unwrap_or(pattern);
    Ok(format!("{}/{pattern}", Pattern::escape(&here.to_string_lossy())))
}

/// What is at `path` if it is a regular file, links followed.
fn resolve(path: PathBuf) -> Option<Found> {
    let metadata = fs::symlink_metadata(&path).ok()?;
    if metadata.is_symlink() {
        // Under its own path, so that it is watched and found again where it is written.
        let path = fs::canonicalize(path).ok()?;
        let metadata = fs::metadata(&path).ok()?;
        return metadata.is_file().then_some(Found { path, metadata });
    }
    metadata.is_file().then_some(Found { path, metadata })
}

/// The part of `path` before its first wildcard.
fn literal_start(path: &Path) -> PathBuf {
    let is_literal = |component: &Component<'_>| {
        !component.as_os_str().as_encoded_bytes().iter().any(|byte| b"*?[".contains(byte))
    };
    path.components().take_while(is_literal).collect()
}

fn add_nearest(directory: &Path, directories: &mut Directories) {
    if directory.is_dir() {
        directories.holding.insert(directory.to_owned());
    } else if let Some(above) = directory.ancestors().find(|above| above.is_dir()) {
        directories.above.insert(above.to_owned());
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn names(patterns: &mut Patterns, under: &Path) -> Vec<String> {
        let mut names: Vec<String> = patterns
            .scan()
            .into_iter()
            .filter_map(|found| Some(found.path.strip_prefix(under).ok()?.to_str()?.to_owned()))
            .collect();
        names.sort();
        names
    }

    fn patterns(under: &Path, include: &[&str], exclude: &[&str]) -> Patterns {
        let include: Vec<_> =
            include.iter().map(|path| format!("{}/{path}", under.display())).collect();
        let exclude: Vec<_> = exclude.iter().map(|path| (*path).to_owned()).collect();
        Patterns::new(&include, &exclude).expect("patterns")
    }

    #[test]
    fn patterns_find_files_and_leave_out_what_is_excluded() -> std::io::Result<()> {
        let folder = tempfile::tempdir()?;
        let root = folder.path().canonicalize()?;
        fs::create_dir_all(root.join("a/b"))?;
        for name in ["x.log", ".x.log", "x.log.1", "a/y.log", "a/b/z.log", "a/b/z.txt"] {
            fs::write(root.join(name), "")?;
        }
        fs::create_dir(root.join("folder.log"))?;
        std::os::unix::fs::symlink(root.join("a/b/z.txt"), root.join("link.log"))?;
        let rows: [(&[&str], &[&str], &[&str]); 4] = [
            (&["*.log"], &[], &["a/b/z.txt", "x.log"]),
            (&["**/*.log"], &["link*"], &["a/b/z.log", "a/y.log", "x.log"]),
            (&["x*", "a/*"], &["*.1"], &["a/y.log", "x.log"]),
            (&["nowhere/*"], &[], &[]),
        ];
        for (include, exclude, expected) in rows {
            assert_eq!(names(&mut patterns(&root, include, exclude), &root), expected);
        }
        assert!(patterns(&root, &["*.log"], &["y*"]).matches(&root.join("x.log")));
        assert!(!patterns(&root, &["*.log"], &["y*"]).matches(&root.join("y.log")));
        assert!(!patterns(&root, &["*.log"], &[]).matches(&root.join("a/y.log")));
        Ok(())
    }

    #[test]
    fn every_level_of_a_pattern_is_watched_or_what_is_above_it() -> std::io::Result<()> {
        let folder = tempfile::tempdir()?;
        let root = folder.path().canonicalize()?;
        fs::create_dir_all(root.join("a/b"))?;
        let found = patterns(&root, &["**/*.log", "not/yet/*.log"], &[]).directories();
        let holding = ["", "a", "a/b"].map(|name| root.join(name).components().collect());
        assert_eq!(found.holding, BTreeSet::from(holding));
        assert_eq!(found.above, BTreeSet::new());
        let found = patterns(&root, &["a/*/*.log", "not/yet/*.log"], &[]).directories();
        assert_eq!(found.holding, BTreeSet::from([root.join("a"), root.join("a/b")]));
        assert_eq!(found.above, BTreeSet::from([root.clone()]));
        Ok(())
    }

    #[test]
    fn a_bad_pattern_is_named() {
        let error = Patterns::new(&["/a/***".to_owned()], &[]).expect_err("refused");
        assert_eq!(error.to_string(), "\"/a/***\" is not a pattern");
    }
}
