//! Reads profiles of the AWS tools: the files `~/.aws/credentials` and `~/.aws/config` go in; the source of a profile's
//! credentials comes out.

use std::collections::HashMap;
use std::io::ErrorKind;
use std::path::Path;

use super::settings::{S3Settings, Secret};
use crate::document::{open_named, read_text};
use crate::error::{Code, Error, Result, Stage};

/// The maximum size of a file with profiles, in bytes.
const FILE_BYTES_MAX: u64 = 1 << 20;

/// The maximum number of roles that one profile may assume one after the other.
const ROLES_MAX: usize = 5;

/// The source of a profile's credentials.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum ProfileSource {
    /// Keys in the file.
    Keys {
        /// `aws_access_key_id`.
        id: String,
        /// `aws_secret_access_key`.
        secret: Secret,
        /// `aws_session_token`.
        token: Option<Secret>,
    },
    /// A role, assumed with the credentials of another source.
    Role {
        /// The role.
        role: Role,
        /// The credentials that assume it.
        source: Box<ProfileSource>,
    },
    /// The credentials of a role, for a token in a file.
    WebIdentity {
        /// `role_arn`.
        arn: String,
        /// `role_session_name`.
        session_name: Option<String>,
        /// `web_identity_token_file`.
        token_file: String,
    },
    /// `credential_source = Environment`.
    Environment,
    /// `credential_source = EcsContainer`.
    Container,
    /// `credential_source = Ec2InstanceMetadata`.
    Instance,
}

/// A role to assume.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Role {
    /// `role_arn`.
    pub(super) arn: String,
    /// `role_session_name`.
    pub(super) session_name: Option<String>,
    /// `external_id`.
    pub(super) external_id: Option<Secret>,
    /// `duration_seconds`.
    pub(super) duration_s: Option<u32>,
}

/// A profile.
#[derive(Debug)]
pub(super) struct Profile {
    /// The source of its credentials; none if it has none. An error if it has one that is not supported: this is no
    /// problem if the credentials come from elsewhere.
    pub(super) source: Result<Option<ProfileSource>>,
    /// `region`.
    pub(super) region: Option<String>,
    /// `endpoint_url`.
    pub(super) endpoint: Option<String>,
}

/// The members of each profile, by the profile's name.
type Profiles = HashMap<String, HashMap<String, String>>;

impl Default for Profile {
    fn default() -> Self {
        Self {
            source: Ok(None),
            region: None,
            endpoint: None,
        }
    }
}

impl Profile {
    /// Reads the profile that the settings name, or the profile `default`. Returns an empty profile if there is no
    /// `default`.
    ///
    /// # Errors
    /// Fails permanently, with stage config, if a file cannot be read or the named profile does not exist. No error
    /// quotes a value.
    pub(super) fn read(settings: &S3Settings) -> Result<Self> {
        let mut profiles = Profiles::new();
        let config = settings.config_file.as_deref();
        let credentials = settings.credentials_file.as_deref();
        for (path, is_config) in [(config, true), (credentials, false)] {
            if let Some(path) = path {
                add_file(&mut profiles, path, is_config)?;
            }
        }
        let name = settings.profile.as_deref().unwrap_or("default");
        let Some(members) = profiles.get(name) else {
            if settings.profile.is_none() {
                return Ok(Self::default());
            }
            return Err(refused(format!(
                "AWS_PROFILE names the profile {name}, which is in neither file: {}",
                [credentials, config]
                    .into_iter()
                    .flatten()
                    .map(|path| path.display().to_string())
                    .collect::<Vec<_>>()
                    .join(", ")
            )));
        };
        let member = |name: &str| members.get(name).cloned();
        Ok(Self {
            source: source(&profiles, name, ROLES_MAX),
            region: member("region"),
            endpoint: member("endpoint_url"),
        })
    }
}

fn refused(what: String) -> Error {
    Error::permanent(Stage::Config, Code::SettingsInvalid, what)
}

/// Returns the source of a profile's credentials.
fn source(profiles: &Profiles, name: &str, roles_left: usize) -> Result<Option<ProfileSource>> {
    let unusable = |why: &str| refused(format!("the AWS profile {name} {why}"));
    let members = profiles
        .get(name)
        .ok_or_else(|| unusable("does not exist, and another profile names it"))?;
    let member = |name: &str| members.get(name).filter(|value| !value.is_empty()).cloned();
    if let Some(arn) = member("role_arn") {
        if member("mfa_serial").is_some() {
            return Err(unusable(
                "asks for a second factor (mfa_serial), which nobody is here to enter",
            ));
        }
        let session_name = member("role_session_name");
        if let Some(token_file) = member("web_identity_token_file") {
            return Ok(Some(ProfileSource::WebIdentity {
                arn,
                session_name,
                token_file,
            }));
        }
        let Some(roles_left) = roles_left.checked_sub(1) else {
            return Err(unusable("assumes too many roles one after the other"));
        };
        let source = match (member("source_profile"), member("credential_source").as_deref()) {
            // A profile that names itself means its own keys.
            (Some(other), None) if other == name => keys(members, name)?,
            (Some(other), None) => source(profiles, &other, roles_left)?,
            (None, Some("Environment")) => Some(ProfileSource::Environment),
            (None, Some("EcsContainer")) => Some(ProfileSource::Container),
            (None, Some("Ec2InstanceMetadata")) => Some(ProfileSource::Instance),
            _ => None,
        };
        let source = source.ok_or_else(|| {
            unusable(
                "has a role_arn, and no source_profile or credential_source with credentials to assume it",
            )
        })?;
        let duration_s = member("duration_seconds").map(|seconds| seconds.parse());
        let role = Role {
            arn,
            session_name,
            external_id: member("external_id").map(Secret::from),
            duration_s: duration_s
                .transpose()
                .map_err(|_| unusable("has duration_seconds that are not a number"))?,
        };
        return Ok(Some(ProfileSource::Role {
            role,
            source: Box::new(source),
        }));
    }
    if let Some(keys) = keys(members, name)? {
        return Ok(Some(keys));
    }
    if member("credential_process").is_some() {
        return Err(unusable(
            "has a credential_process, which is not supported: run that program, and set AWS_ACCESS_KEY_ID and the others to its output",
        ));
    }
    if members.keys().any(|member| member.starts_with("sso_")) {
        return Err(unusable(
            "logs in by SSO, which is not supported: `aws configure export-credentials --format env` prints variables to set",
        ));
    }
    if member("login_session").is_some() {
        return Err(unusable(
            "logs in by `aws login`, which is not supported: `aws configure export-credentials --format env` prints variables to set",
        ));
    }
    Ok(None)
}

fn keys(members: &HashMap<String, String>, name: &str) -> Result<Option<ProfileSource>> {
    let member = |name: &str| members.get(name).filter(|value| !value.is_empty()).cloned();
    match (member("aws_access_key_id"), member("aws_secret_access_key")) {
        (Some(id), Some(secret)) => Ok(Some(ProfileSource::Keys {
            id,
            secret: secret.into(),
            token: member("aws_session_token").map(Secret::from),
        })),
        (None, None) => Ok(None),
        _ => Err(refused(format!(
            "the AWS profile {name} has only one of aws_access_key_id and aws_secret_access_key"
        ))),
    }
}

/// Adds the profiles of a file. Members of a later file take precedence. A missing file has none.
fn add_file(profiles: &mut Profiles, path: &Path, is_config: bool) -> Result<()> {
    let unread = |error| refused(format!("{}: cannot be read", path.display())).because(error);
    let text = match open_named(path) {
        Ok(file) => read_text(file, FILE_BYTES_MAX).map_err(unread)?,
        Err(error) if matches!(error.kind(), ErrorKind::NotFound | ErrorKind::NotADirectory) => return Ok(()),
        Err(error) => return Err(unread(error)),
    };
    add_text(profiles, &text, is_config).map_err(|line| {
        refused(format!(
            "{}: line {line}: expected [PROFILE] or NAME = VALUE",
            path.display()
        ))
    })
}

/// Adds the profiles of a text.
///
/// # Errors
/// Returns the number of a line that cannot be parsed.
fn add_text(profiles: &mut Profiles, text: &str, is_config: bool) -> Result<(), usize> {
    let mut profile: Option<String> = None;
    let mut is_in_section = false;
    for (number, line) in text.lines().enumerate() {
        let content = line.trim();
        // An indented line belongs to the member before, such as `s3 =`.
        if content.is_empty() || content.starts_with(['#', ';']) || line.starts_with([' ', '\t']) {
            continue;
        }
        if let Some(section) = content.strip_prefix('[') {
            let (section, _) = section.split_once(']').ok_or(number + 1)?;
            let section = section.trim();
            is_in_section = true;
            // In the config file, other sections than profiles exist, such as `[sso-session NAME]`.
            profile = match section.split_once(char::is_whitespace) {
                Some(("profile", name)) if is_config => Some(name.trim().to_owned()),
                Some(_) if is_config => None,
                None if is_config && section != "default" => None,
                _ => Some(section.to_owned()),
            };
            continue;
        }
        let (name, value) = content
            .split_once('=')
            .filter(|_| is_in_section)
            .ok_or(number + 1)?;
        let value = [" #", "\t#", " ;", "\t;"].iter().fold(value, |value, comment| {
            value.split_once(comment).map_or(value, |(value, _)| value)
        });
        if let Some(profile) = &profile {
            let members = profiles.entry(profile.clone()).or_default();
            members.insert(name.trim().to_ascii_lowercase(), value.trim().to_owned());
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(config: &str, credentials: &str, profile: Option<&str>) -> Result<Profile> {
        let folder = tempfile::tempdir().unwrap();
        let at = |name: &str, text: &str| {
            let path = folder.path().join(name);
            std::fs::write(&path, text).unwrap();
            Some(path)
        };
        Profile::read(&S3Settings {
            config_file: at("config", config),
            credentials_file: at("credentials", credentials),
            profile: profile.map(str::to_owned),
            ..S3Settings::default()
        })
    }

    fn keys(id: &str) -> ProfileSource {
        ProfileSource::Keys {
            id: id.into(),
            secret: Secret::from(format!("{id}-s3cret")),
            token: None,
        }
    }

    const CREDENTIALS: &str = "# comment\n[default]\naws_access_key_id = A\naws_secret_access_key=A-s3cret\n\n\
                               [ base ]\r\naws_access_key_id=B # a comment\r\naws_secret_access_key = B-s3cret\r\n";

    #[test]
    fn keys_come_from_either_file_and_settings_from_the_config() {
        let config = "[default]\nregion = eu-west-1\ns3 =\n  max_concurrent_requests = 20\noutput = json\n\
                      [profile base]\nendpoint_url = http://127.0.0.1:9000\naws_access_key_id = X\n[sso-session base]\nregion = no\n";
        let profile = read(config, CREDENTIALS, None).unwrap();
        assert_eq!(
            (profile.source.unwrap(), profile.region),
            (Some(keys("A")), Some("eu-west-1".into()))
        );
        let profile = read(config, CREDENTIALS, Some("base")).unwrap();
        assert_eq!((profile.source.unwrap(), profile.region), (Some(keys("B")), None));
        assert_eq!(profile.endpoint.as_deref(), Some("http://127.0.0.1:9000"));
        assert_eq!(read("", "", None).unwrap().source.unwrap(), None);
        assert!(!format!("{:?}", read(config, CREDENTIALS, None)).contains("s3cret"));
    }

    #[test]
    fn a_role_has_the_credentials_that_assume_it() {
        let config = "[profile one]\nrole_arn = arn:1\nsource_profile = base\nexternal_id = e\nduration_seconds = 900\n\
                      [profile two]\nrole_arn = arn:2\nsource_profile = one\nrole_session_name = me\n\
                      [profile ec2]\nrole_arn = arn:3\ncredential_source = Ec2InstanceMetadata\n\
                      [profile web]\nrole_arn = arn:4\nweb_identity_token_file = /t\n\
                      [profile loop]\nrole_arn = arn:5\nsource_profile = pool\n[profile pool]\nrole_arn = arn:6\nsource_profile = loop\n\
                      [profile self]\nrole_arn = arn:7\nsource_profile = self\naws_access_key_id = C\naws_secret_access_key = C-s3cret\n";
        let role = |arn: &str| Role {
            arn: arn.into(),
            session_name: None,
            external_id: None,
            duration_s: None,
        };
        let one = || ProfileSource::Role {
            role: Role {
                external_id: Some("e".to_owned().into()),
                duration_s: Some(900),
                ..role("arn:1")
            },
            source: Box::new(keys("B")),
        };
        let two = ProfileSource::Role {
            role: Role {
                session_name: Some("me".into()),
                ..role("arn:2")
            },
            source: Box::new(one()),
        };
        let ec2 = ProfileSource::Role {
            role: role("arn:3"),
            source: Box::new(ProfileSource::Instance),
        };
        let own = ProfileSource::Role {
            role: role("arn:7"),
            source: Box::new(keys("C")),
        };
        let web = ProfileSource::WebIdentity {
            arn: "arn:4".into(),
            session_name: None,
            token_file: "/t".into(),
        };
        for (name, source) in [
            ("one", one()),
            ("two", two),
            ("ec2", ec2),
            ("web", web),
            ("self", own),
        ] {
            assert_eq!(
                read(config, CREDENTIALS, Some(name)).unwrap().source.unwrap(),
                Some(source),
                "{name}"
            );
        }
        let error = read(config, CREDENTIALS, Some("loop"))
            .unwrap()
            .source
            .expect_err("a loop");
        assert!(error.report().contains("too many roles"), "{}", error.report());
    }

    #[test]
    fn what_is_not_supported_is_refused_by_name_and_no_value_is_quoted() {
        for (members, reason) in [
            ("credential_process = /bin/s3cret", "credential_process"),
            ("sso_session = s3cret\nsso_account_id = 1", "SSO"),
            (
                "role_arn = a\nsource_profile = default\nmfa_serial = s3cret",
                "mfa_serial",
            ),
            ("role_arn = s3cret", "no source_profile"),
            ("role_arn = s3cret\nsource_profile = gone", "gone does not exist"),
            ("aws_secret_access_key = s3cret", "only one of"),
            ("s3cret", "line 2"),
        ] {
            let read = read(&format!("[profile p]\n{members}\n"), CREDENTIALS, Some("p"));
            let error = read.and_then(|profile| profile.source).expect_err(members);
            assert!(
                error.report().contains(reason) && !error.report().contains("s3cret"),
                "{}",
                error.report()
            );
        }
        let error = read("", CREDENTIALS, Some("missing")).expect_err("no such profile");
        assert!(
            error.report().contains("names the profile missing"),
            "{}",
            error.report()
        );
    }
}
