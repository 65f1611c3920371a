"""What is looked for in a parsed chat template, and put into it, before it is compiled.

Knows nothing about rendering or limits: it inserts calls, and whoever compiles says to what.
"""

from collections.abc import Callable, Iterator, Sequence

from jinja2 import nodes

from stead.data.bounds import unsafe

CallNamed = Callable[..., nodes.Call]  # (method name, *arguments) -> the node that calls it


def instrument(tree: nodes.Template, call: CallNamed) -> None:
    """Count every turn of a loop and measure every list, dict and `a ~ b`; jinja has no hook for those.

    Raises: UnsafeError when the template includes or imports another.
    """
    for forbidden in tree.find_all((nodes.Include, nodes.Import, nodes.FromImport, nodes.Extends)):
        raise unsafe(f"{type(forbidden).__name__.lower()} in line {forbidden.lineno}")
    kinds = (nodes.For, nodes.Macro, nodes.CallBlock)
    for block in (block for kind in kinds for block in tree.find_all(kind)):
        step = nodes.ExprStmt(call("_step")).set_lineno(block.lineno)
        body: list[nodes.Node] = block.body  # type: ignore[attr-defined]  # all three have one
        body.insert(0, step)
    _measure_literals(tree, call)


def _measure_literals(tree: nodes.Node, call: CallNamed) -> None:
    for name, value in tree.iter_fields():
        if isinstance(value, nodes.Node):
            setattr(tree, name, _measured(value, call))
        elif isinstance(value, list):
            value[:] = [_measured(v, call) if isinstance(v, nodes.Node) else v for v in value]


def _measured(node: nodes.Node, call: CallNamed) -> nodes.Node:
    _measure_literals(node, call)
    if isinstance(node, nodes.Concat):
        listed = nodes.List(node.nodes, lineno=node.lineno)
        return call("_concat", listed).set_lineno(node.lineno)
    is_tuple = isinstance(node, nodes.Tuple) and node.ctx == "load"
    if isinstance(node, nodes.List | nodes.Dict) or is_tuple:
        assert isinstance(node, nodes.Expr)  # noqa: S101 - for the type checker
        return call("_literal", node).set_lineno(node.lineno)
    return node


def blocks_are_apart(tree: nodes.Template) -> bool:
    """Say whether the text of every `{% generation %}` goes straight to the output, unseen by any expression.

    Then marks around it change nothing else: one marked rendering shows both the text and the blocks.
    """
    blocks = [node for node in tree.find_all(nodes.CallBlock) if _is_generation(node)]
    return sum(1 for _ in _written_directly(tree.body)) == len(blocks)


def _is_generation(node: nodes.CallBlock) -> bool:
    """Say whether this is a `{% generation %}`, and no `{% call %}`."""
    called = node.call.node
    return isinstance(called, nodes.ExtensionAttribute) and called.name == "_mark"


def _written_directly(body: Sequence[nodes.Node]) -> Iterator[nodes.CallBlock]:
    """Yield the blocks that stand in nothing but conditions and plain loops."""
    for node in body:
        if isinstance(node, nodes.CallBlock) and _is_generation(node):
            yield node
        elif isinstance(node, nodes.If):
            yield from _written_directly([*node.body, *node.elif_, *node.else_])
        elif isinstance(node, nodes.For) and not node.recursive:  # loop(…) would catch its text
            yield from _written_directly([*node.body, *node.else_])
