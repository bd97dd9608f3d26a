//! What is decided by: the rules, or one that is weaker and must be seen to fail.

/// The rules.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum Rule {
    /// The real ones.
    Real,
    /// A peer that says nothing is taken for a blank one that is as far as the others.
    MajorityOfBlanks,
    /// A blank host takes its old member ID back instead of removing it.
    JoinWithoutRemove,
    /// A peer that says nothing is taken for one that does not exist.
    UnknownIsAbsent,
    /// Every disk of a host has the same nonce, so that T does not tell a lost disk from its successor.
    WithoutNonces,
    /// An instance that the provider does not list is taken for a terminated one.
    AbsentIsTerminated,
    /// Ready is answered first and journaled in the next step.
    ReadyBeforeDurable,
    /// A host that readies another founding forgets the one before.
    ForgetsReady,
    /// What a leader has written into its own log does not make it a member.
    OwnEntriesAreNothing,
    /// The staging is prepared when all answer Ready, and Prepared is not taken for Ready.
    ReadyMeansReady,
    /// The founding is committed without `committing` in the store.
    WithoutCommitting,
    /// Who says nothing for long is left out of a founding, whether or not the operator's date allows one.
    DateIsNothing,
    /// Who says nothing for long is left out of a founding, though the store says that this cluster was founded.
    FoundedIsNothing,
    /// A membership change is made whatever the list has become since the decision.
    OldList,
}
