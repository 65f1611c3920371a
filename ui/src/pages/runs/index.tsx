import { Page } from "../../shell/page";

export default function Runs() {
  return <Page title="Runs">{null}</Page>;
}
