import { Page } from "../../shell/page";

export default function Playground() {
  return <Page title="Playground">{null}</Page>;
}
