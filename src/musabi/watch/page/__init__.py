"""The run page: the pod, the dataset, trainings and the endpoint in a browser, and the same verbs as in a terminal."""
