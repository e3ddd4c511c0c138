//! Detections: the rules that the products of a synthetic site know, with severity and ATT&CK tags.
//!
//! Background, campaigns and look-alikes all draw from this one table, so that neither a rule nor its severity
//! alone tells an attack from a nuisance.

/// A product that raises alerts. It decides which fields an alert carries.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Product {
    /// Endpoint detection: host, user, file.
    Edr,
    /// Network intrusion detection: two addresses, the host at ours.
    Ids,
    /// Identity provider: user and address.
    Idp,
    /// Mail gateway: recipient, sender, link or attachment.
    Email,
    /// Cloud posture and audit: identity, address, resource.
    Cloud,
    /// Web proxy: host, user, site.
    Proxy,
}

impl Product {
    /// The name that alerts carry.
    pub(super) fn name(self) -> &'static str {
        match self {
            Product::Edr => "edr",
            Product::Ids => "ids",
            Product::Idp => "idp",
            Product::Email => "email",
            Product::Cloud => "cloud",
            Product::Proxy => "proxy",
        }
    }
}

/// One rule of one product.
pub(super) struct Rule {
    pub(super) uid: &'static str,
    pub(super) title: &'static str,
    pub(super) product: Product,
    /// OCSF `severity_id`.
    pub(super) severity: u8,
    pub(super) tactic: &'static str,
    pub(super) technique: &'static str,
    pub(super) technique_name: &'static str,
}

macro_rules! detections {
    ($($variant:ident $product:ident $severity:literal $uid:literal $title:literal
        $tactic:literal $technique:literal $technique_name:literal;)*) => {
        /// A rule by name: an index into [`RULES`].
        #[derive(Clone, Copy, Debug, PartialEq, Eq)]
        #[repr(u8)]
        pub(super) enum Detection {
            $(#[doc = $title] $variant,)*
        }

        /// Every detection, in the order of [`RULES`].
        pub(super) const ALL: &[Detection] = &[$(Detection::$variant),*];

        /// What each detection is.
        pub(super) static RULES: &[Rule] = &[$(Rule {
            uid: $uid, title: $title, product: Product::$product, severity: $severity,
            tactic: $tactic, technique: $technique, technique_name: $technique_name,
        }),*];
    };
}

detections! {
    MailSpam Email 1 "EML-1001" "Spam delivered to junk" "TA0043" "T1598" "Phishing for Information";
    MailBulk Email 2 "EML-1002" "Bulk sender above usual volume" "TA0001" "T1566" "Phishing";
    MailLink Email 3 "EML-1010" "Message with a link to a suspicious site" "TA0001" "T1566.002" "Spearphishing Link";
    MailAttachment Email 3 "EML-1011" "Message with a suspicious attachment" "TA0001" "T1566.001" "Spearphishing Attachment";
    MailReported Email 2 "EML-1012" "Message reported by its recipient" "TA0001" "T1566" "Phishing";
    MailSpoof Email 2 "EML-1013" "Sender fails DMARC" "TA0001" "T1566" "Phishing";
    MailForwardRule Email 3 "EML-1020" "Inbox rule forwards mail outside" "TA0009" "T1114.003" "Email Forwarding Rule";
    ProxyCategory Proxy 1 "PRX-2001" "Blocked category requested" "TA0011" "T1071.001" "Web Protocols";
    ProxyNewDomain Proxy 2 "PRX-2002" "Newly registered domain requested" "TA0011" "T1583.001" "Domains";
    ProxyCredentialPage Proxy 3 "PRX-2010" "Credentials sent to an unknown sign-in page" "TA0006" "T1056.003" "Web Portal Capture";
    ProxyDownload Proxy 3 "PRX-2011" "Executable downloaded from a rare site" "TA0002" "T1204.002" "Malicious File";
    ProxyBeacon Proxy 3 "PRX-2012" "Regular requests to a rare site" "TA0011" "T1071.001" "Web Protocols";
    ProxyUpload Proxy 3 "PRX-2013" "Large upload to a rare site" "TA0010" "T1567" "Exfiltration Over Web Service";
    IdpFailure Idp 1 "IDP-3001" "Sign-in failed" "TA0006" "T1110" "Brute Force";
    IdpLockout Idp 2 "IDP-3002" "Account locked" "TA0006" "T1110" "Brute Force";
    IdpManyFailures Idp 3 "IDP-3003" "Many accounts fail from one address" "TA0006" "T1110.004" "Credential Stuffing";
    IdpRiskyAddress Idp 3 "IDP-3004" "Sign-in from an address with bad reputation" "TA0001" "T1078" "Valid Accounts";
    IdpTravel Idp 3 "IDP-3005" "Sign-in from two places too far apart" "TA0001" "T1078" "Valid Accounts";
    IdpNewDevice Idp 2 "IDP-3006" "Sign-in from a new device" "TA0001" "T1078" "Valid Accounts";
    IdpFatigue Idp 3 "IDP-3007" "Repeated second-factor prompts" "TA0006" "T1621" "Multi-Factor Authentication Request Generation";
    IdpMethodAdded Idp 2 "IDP-3008" "Second-factor method added" "TA0003" "T1556.006" "Multi-Factor Authentication";
    IdpTokenReplay Idp 4 "IDP-3009" "Session token used from two networks" "TA0005" "T1550.004" "Web Session Cookie";
    IdpConsent Idp 3 "IDP-3010" "Consent given to an unverified application" "TA0006" "T1528" "Steal Application Access Token";
    EdrUnwanted Edr 2 "EDR-4001" "Potentially unwanted application" "TA0002" "T1204.002" "Malicious File";
    EdrScriptHost Edr 2 "EDR-4002" "Script host started by a service" "TA0002" "T1059" "Command and Scripting Interpreter";
    EdrAdminTool Edr 2 "EDR-4003" "Remote administration tool started" "TA0011" "T1219" "Remote Access Tools";
    EdrRemovable Edr 1 "EDR-4004" "Removable medium with executables" "TA0001" "T1091" "Replication Through Removable Media";
    EdrOfficeChild Edr 4 "EDR-4010" "Office application starts a script" "TA0002" "T1059.005" "Visual Basic";
    EdrEncoded Edr 4 "EDR-4011" "Encoded PowerShell command" "TA0002" "T1059.001" "PowerShell";
    EdrTask Edr 3 "EDR-4012" "Scheduled task created by a user process" "TA0003" "T1053.005" "Scheduled Task";
    EdrRunKey Edr 3 "EDR-4013" "Autostart entry added" "TA0003" "T1547.001" "Registry Run Keys / Startup Folder";
    EdrLsass Edr 4 "EDR-4014" "Memory of LSASS read" "TA0006" "T1003.001" "LSASS Memory";
    EdrDiscovery Edr 2 "EDR-4015" "Burst of account and network discovery" "TA0007" "T1087.002" "Domain Account";
    EdrRemoteService Edr 3 "EDR-4016" "Service created from another host" "TA0008" "T1021.002" "SMB/Windows Admin Shares";
    EdrRemoteWmi Edr 3 "EDR-4017" "Process started through WMI from another host" "TA0002" "T1047" "Windows Management Instrumentation";
    EdrRemoteDesktop Edr 2 "EDR-4018" "Remote desktop from an unusual host" "TA0008" "T1021.001" "Remote Desktop Protocol";
    EdrTamper Edr 4 "EDR-4019" "Protection switched off" "TA0005" "T1562.001" "Disable or Modify Tools";
    EdrBackupStop Edr 3 "EDR-4020" "Backup service stopped" "TA0040" "T1489" "Service Stop";
    EdrShadowDelete Edr 4 "EDR-4021" "Volume shadow copies deleted" "TA0040" "T1490" "Inhibit System Recovery";
    EdrMassRename Edr 5 "EDR-4022" "Many files rewritten with high entropy" "TA0040" "T1486" "Data Encrypted for Impact";
    IdsPolicy Ids 1 "IDS-5001" "Outdated TLS version" "TA0011" "T1071.001" "Web Protocols";
    IdsScan Ids 2 "IDS-5002" "Port scan" "TA0043" "T1595.001" "Scanning IP Blocks";
    IdsWebAttack Ids 3 "IDS-5003" "Web application attack pattern" "TA0001" "T1190" "Exploit Public-Facing Application";
    IdsBruteSsh Ids 3 "IDS-5004" "SSH password guessing" "TA0006" "T1110.001" "Password Guessing";
    IdsDns Ids 2 "IDS-5005" "Query for a dynamic DNS name" "TA0011" "T1568" "Dynamic Resolution";
    IdsDnsTunnel Ids 3 "IDS-5006" "Long DNS labels in volume" "TA0010" "T1048" "Exfiltration Over Alternative Protocol";
    IdsSmb Ids 3 "IDS-5007" "Executable written to an admin share" "TA0008" "T1570" "Lateral Tool Transfer";
    IdsKerberoast Ids 4 "IDS-5008" "Service tickets requested in volume" "TA0006" "T1558.003" "Kerberoasting";
    CloudDrift Cloud 1 "CLD-6001" "Resource differs from its template" "TA0005" "T1578" "Modify Cloud Compute Infrastructure";
    CloudPublicBucket Cloud 4 "CLD-6002" "Storage made public" "TA0009" "T1530" "Data from Cloud Storage";
    CloudOpenPort Cloud 3 "CLD-6003" "Security group open to the world" "TA0005" "T1562.007" "Disable or Modify Cloud Firewall";
    CloudNoFactor Cloud 3 "CLD-6004" "Console sign-in without second factor" "TA0001" "T1078.004" "Cloud Accounts";
    CloudKey Cloud 2 "CLD-6005" "Access key created" "TA0003" "T1098.001" "Additional Cloud Credentials";
    CloudEnumeration Cloud 2 "CLD-6006" "Listing of many services" "TA0007" "T1526" "Cloud Service Discovery";
    CloudAdminPolicy Cloud 4 "CLD-6007" "Administrator policy attached" "TA0004" "T1098.003" "Additional Cloud Roles";
    CloudAuditOff Cloud 4 "CLD-6008" "Audit trail stopped" "TA0005" "T1562.008" "Disable or Modify Cloud Logs";
    CloudRoleOutside Cloud 4 "CLD-6009" "Instance role used from outside" "TA0006" "T1552.005" "Cloud Instance Metadata API";
    CloudDownload Cloud 3 "CLD-6010" "Mass download from storage" "TA0009" "T1530" "Data from Cloud Storage";
    CloudSnapshot Cloud 4 "CLD-6011" "Snapshot shared with another account" "TA0010" "T1537" "Transfer Data to Cloud Account";
    CloudMiner Cloud 4 "CLD-6012" "Large instances started in an unused region" "TA0040" "T1496.001" "Compute Hijacking";
}

impl Detection {
    /// What it is.
    pub(super) fn rule(self) -> &'static Rule {
        &RULES[self as usize]
    }

    /// Its number, for dice.
    pub(super) fn number(self) -> u64 {
        self as u64
    }
}

/// A tactic's name as ATT&CK writes it.
pub(super) fn tactic_name(uid: &str) -> &'static str {
    match uid {
        "TA0043" => "Reconnaissance",
        "TA0001" => "Initial Access",
        "TA0002" => "Execution",
        "TA0003" => "Persistence",
        "TA0004" => "Privilege Escalation",
        "TA0005" => "Defense Evasion",
        "TA0006" => "Credential Access",
        "TA0007" => "Discovery",
        "TA0008" => "Lateral Movement",
        "TA0009" => "Collection",
        "TA0011" => "Command and Control",
        "TA0010" => "Exfiltration",
        "TA0040" => "Impact",
        _ => "Resource Development",
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::record::attack::canonical;

    #[test]
    fn every_rule_is_named_once_and_tagged_with_attack_as_it_is() {
        let mut uids: Vec<&str> = RULES.iter().map(|rule| rule.uid).collect();
        uids.sort_unstable();
        uids.dedup();
        assert_eq!(uids.len(), ALL.len());
        for rule in RULES {
            let (tactics, _) = canonical([tactic_name(rule.tactic)]);
            assert_eq!(tactics.ids().next(), Some(rule.tactic));
            assert_eq!(canonical([rule.technique]).1, rule.technique);
            assert!((1..=5).contains(&rule.severity));
        }
    }
}
