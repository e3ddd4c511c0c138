//! Scores: what the model said of incidents, as rows of the table `inputs`, and recalled from an archive.
//!
//! Out: a row for each version for which playbooks were ranked, which says what was asked and all that was answered. What
//! was only triaged stands in `incidents`, and is recalled from there.

use std::io;

use serde::{Deserialize, Serialize};

use super::journal::promoted_by;
use crate::archive::Reader;
use crate::plan::playbook::Playbook;
use crate::rank::judge::Judged;
use crate::rank::recall::{Edition, Question, Recall, Recalled};
use crate::record::attack::TACTICS;
use crate::record::{Epoch, IncidentId, InputKind, InputRow, Names, Score, Sym, Triage};

/// A row's JSON.
#[derive(Serialize, Deserialize)]
struct Answer {
    incident_id: IncidentId,
    /// [`Question`].
    asked: String,
    model: String,
    triage: Triage,
    confidence: Score,
    next_tactics: [String; 3],
    /// Of each candidate its CACAO id, its [`Edition`] and the score.
    scores: Vec<(String, String, Score)>,
}

/// The row of a version that was ranked; none of another.
#[must_use]
pub fn row(judged: &Judged, playbooks: &[Playbook], names: &Names) -> Option<InputRow> {
    let Judged { incident, features, proposals, judgement, model, ranked, .. } = judged;
    let score = |(at, score): (usize, &Score)| {
        let playbook = &playbooks[at];
        (playbook.id.clone(), format!("{:016x}", Edition::of(&playbook.hash).0), *score)
    };
    let weighed = proposals.iter().map(|proposal| proposal.playbook).zip(&judgement.scores);
    ranked.then(|| {
        let Question(asked) = Question::on(incident.id, features);
        let answer = Answer {
            incident_id: incident.id,
            asked: format!("{:032x}", u128::from_be_bytes(asked)),
            model: names.get(*model),
            triage: judgement.triage,
            confidence: judgement.confidence,
            next_tactics: judgement.next_tactics.map(|at| tactic(at).to_owned()),
            scores: weighed.map(score).collect(),
        };
        let body = serde_json::to_string(&answer).unwrap_or_default();
        let (tick, tenant, kind) = (incident.tick, incident.tenant, InputKind::Score);
        InputRow { epoch: 0, tick, tenant, kind, body }
    })
}

/// All that the archive's model said, for a ranker of these playbooks.
pub fn recall(archive: &Reader, playbooks: &[Playbook]) -> io::Result<Recall> {
    let names = archive.names();
    let mut recall = Recall::new(playbooks.iter().map(|playbook| Edition::of(&playbook.hash)));
    recall.began = archive.epochs(None)?.next().transpose()?.map(|turn| turn.model_version);
    let began = recall.began.unwrap_or(Sym::EMPTY);
    // What was said at an epoch was said by the model that was put to use last before it.
    let mut promoted: Vec<(Epoch, Sym)> = Vec::new();
    for line in archive.inputs(None)? {
        let line = line?;
        if line.kind == InputKind::Score
            && let Some((question, answer)) = read(&line.body, names)
        {
            recall.add(question, answer);
        }
        if let Some(model) = promoted_by(line.kind, &line.body) {
            promoted.push((line.epoch, names.intern(&model)));
        }
    }
    promoted.sort_by_key(|(epoch, _)| *epoch);
    let in_force =
        |epoch| promoted.iter().rfind(|(after, _)| *after < epoch).map_or(began, |(_, model)| *model);
    for line in archive.incidents(None)? {
        let line = line?;
        let seen = line.features.zip(line.tokens);
        let (Some((numeric, tokens)), Some(triage), Some(confidence)) = (seen, line.triage, line.confidence)
        else {
            continue;
        };
        let tactics: Option<Vec<u8>> =
            line.next_tactics.unwrap_or_default().into_iter().map(|id| names.with(id, place)).collect();
        let Some(next_tactics) = tactics.and_then(|tactics| tactics.try_into().ok()) else { continue };
        let model = in_force(line.epoch);
        let answer = Recalled { triage, confidence, next_tactics, scores: Box::default(), model };
        recall.add(Question::of(line.incident_id, &numeric, &tokens), answer);
    }
    Ok(recall)
}

fn read(body: &str, names: &Names) -> Option<(Question, Recalled)> {
    let answer: Answer = serde_json::from_str(body).ok()?;
    let score = |(_, edition, score): &(String, String, Score)| {
        Some((Edition(u64::from_str_radix(edition, 16).ok()?), *score))
    };
    let [first, second, third] = answer.next_tactics.each_ref().map(|id| place(id));
    let recalled = Recalled {
        triage: answer.triage,
        confidence: answer.confidence,
        next_tactics: [first?, second?, third?],
        scores: answer.scores.iter().map(score).collect::<Option<_>>()?,
        model: names.intern(&answer.model),
    };
    Some((Question(u128::from_str_radix(&answer.asked, 16).ok()?.to_be_bytes()), recalled))
}

fn tactic(at: u8) -> &'static str {
    TACTICS.get(usize::from(at)).map_or("", |(id, _)| id)
}

fn place(id: &str) -> Option<u8> {
    TACTICS.iter().position(|(known, _)| *known == id).and_then(|at| u8::try_from(at).ok())
}
