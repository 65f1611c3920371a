import { Page } from "../../shell/page";

export default function Evaluate() {
  return <Page title="Evaluate">{null}</Page>;
}
