import { Page } from "../../shell/page";

export default function Datasets() {
  return <Page title="Datasets">{null}</Page>;
}
