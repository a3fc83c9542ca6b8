//! A compiled expression.

use ipnet::IpNet;
use regex_automata::meta::Regex;

use super::datum::{Datum, DatumKind};
use super::functions::Function;
use super::lookup::LookupSource;
use super::variable::UsedVariable;
use super::variable::Variable;

/// A compiled expression, what it gives, and what it reads.
#[derive(Clone, Debug)]
pub(super) struct Tree {
    pub(super) root: TreeNode,
    pub(super) kind: DatumKind,
    pub(super) variables: Vec<UsedVariable>,
}

/// One step, and where in the text it is.
#[derive(Clone, Debug)]
pub(super) struct TreeNode {
    pub(super) at: u32,
    pub(super) step: TreeStep,
}

/// What to do.
#[derive(Clone, Debug)]
pub(super) enum TreeStep {
    Constant(Datum<'static>),
    Variable(Variable),
    /// The one value of a field, parameter or cookie.
    Field(LookupSource, Box<TreeNode>),
    /// All values of it.
    FieldValues(LookupSource, Box<TreeNode>),
    HasField(LookupSource, Box<TreeNode>),
    /// The claim of a name in a set of claims.
    Claim(Box<TreeNode>, Box<str>),
    HasClaim(Box<TreeNode>, Box<str>),
    /// A member of a list by its position, or a claim by its name.
    Index(Box<[TreeNode; 2]>),
    List(Box<[TreeNode]>),
    /// A member of what surrounds it goes by this number.
    Local(usize),
    And(Box<[TreeNode; 2]>),
    Or(Box<[TreeNode; 2]>),
    Not(Box<TreeNode>),
    If(Box<[TreeNode; 3]>),
    Equal(Box<[TreeNode; 2]>),
    Unequal(Box<[TreeNode; 2]>),
    Ordered(Order, Box<[TreeNode; 2]>),
    In(Box<[TreeNode; 2]>),
    Arithmetic(Sign, Box<[TreeNode; 2]>),
    Negative(Box<TreeNode>),
    Call(Function, Box<[TreeNode]>),
    Matches(Box<TreeNode>, Box<TextPattern>),
    InNetwork(Box<TreeNode>, IpNet),
    Quantified(Quantifier, Box<[TreeNode; 2]>),
}

/// A regular expression, and how many bytes cost as much as a step.
#[derive(Clone, Debug)]
pub(super) struct TextPattern {
    pub(super) regex: Regex,
    pub(super) bytes_per_step: usize,
}

/// A comparison by order.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Order {
    Less,
    LessOrEqual,
    Greater,
    GreaterOrEqual,
}

/// An operator of two numbers, or of two texts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Sign {
    Plus,
    Minus,
    Times,
    Divided,
    Rest,
}

/// How many members of a list must meet a condition.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Quantifier {
    All,
    Some,
    One,
}
