"""Counting what a chat template does: calls that are put into it before it is compiled."""

from typing import Any

from jinja2 import Environment, nodes
from jinja2.ext import Extension
from jinja2.filters import FILTERS
from jinja2.parser import Parser
from jinja2.visitor import NodeTransformer

from crynux_validate.errors import PipelineError
from crynux_validate.pipelines.text.templates.values import STEP


class Generation(Extension):
    """The block ``{% generation %}``, which marks the assistant's words for training; they are written as they are."""

    tags = {"generation"}  # noqa: RUF012 - as jinja2 declares it

    def parse(self, parser: Parser) -> nodes.Node:
        line = next(parser.stream).lineno
        body = parser.parse_statements(("name:endgeneration",), drop_needle=True)
        call = nodes.Call(nodes.EnvironmentAttribute("written"), [], [], None, None)
        return nodes.CallBlock(call, [], [], body).set_lineno(line)


class Counting(NodeTransformer):
    """Puts the counting into a template: at the head of what repeats, and around what is written and compared."""

    def __init__(self, environment: Environment) -> None:
        self._environment = environment

    def visit_Template(self, node: nodes.Template) -> nodes.Node:  # noqa: N802 - jinja2 finds these by their names
        for outside in (nodes.Include, nodes.Import, nodes.FromImport, nodes.Extends):
            if node.find(outside) is not None:
                raise PipelineError(
                    f"the model's chat template has {{% {outside.__name__.lower()} %}}; it can only use itself"
                )
        for used in node.find_all(nodes.Filter):
            if used.name in FILTERS and used.name not in self._environment.filters:
                raise PipelineError(
                    f"the model's chat template asks for the filter {used.name!r}, which does not exist here: what it "
                    "gives is random or may differ between nodes, or no known template needs it"
                )
        return self.generic_visit(node)

    def visit_For(self, node: nodes.For) -> nodes.Node:  # noqa: N802
        size = _size(node)
        self.generic_visit(node)
        node.body.insert(0, nodes.ExprStmt(_call("tick", nodes.Const(size))))
        if node.test is not None:
            node.test = nodes.And(_call("tick", nodes.Const(size)), node.test)
        return node

    def _repeated(self, node: Any) -> nodes.Node:
        size = _size(node)
        self.generic_visit(node)
        node.body.insert(0, nodes.ExprStmt(_call("tick", nodes.Const(size))))
        found: nodes.Node = node
        return found

    visit_Macro = visit_CallBlock = visit_Block = _repeated  # noqa: N815

    def visit_Output(self, node: nodes.Output) -> Any:  # noqa: N802
        fixed = sum(len(part.data) for part in node.nodes if isinstance(part, nodes.TemplateData))
        self.generic_visit(node)
        return [nodes.ExprStmt(_call("tick", nodes.Const(4 * fixed))), node] if fixed else node

    def visit_Concat(self, node: nodes.Concat) -> nodes.Node:  # noqa: N802
        self.generic_visit(node)
        node.nodes = [_call("text", part) for part in node.nodes]
        return node

    def visit_Compare(self, node: nodes.Compare) -> nodes.Node:  # noqa: N802
        self.generic_visit(node)
        node.expr = _call("weighed", node.expr)
        for operand in node.ops:
            operand.expr = _call("weighed", operand.expr)
        return node

    def visit_Getitem(self, node: nodes.Getitem) -> nodes.Node:  # noqa: N802
        self.generic_visit(node)
        if isinstance(node.arg, nodes.Slice):
            node.node = _call("shallow", node.node)
        return node


def _size(node: nodes.Node) -> int:
    """What one round through a part of a template costs, beside what it copies."""
    return STEP + sum(1 for _ in node.find_all(nodes.Node))


def _call(name: str, *args: nodes.Expr) -> nodes.Expr:
    """Call something of the environment's that templates cannot name themselves."""
    return nodes.Call(nodes.EnvironmentAttribute(name), list(args), [], None, None)
