"""`tf.examples.tutorials.mnist.input_data`: the reader of MNIST under its old name."""

from graphflow.contrib.learn.datasets.mnist import DataSet as DataSet
from graphflow.contrib.learn.datasets.mnist import Datasets as Datasets
from graphflow.contrib.learn.datasets.mnist import dense_to_one_hot as dense_to_one_hot
from graphflow.contrib.learn.datasets.mnist import extract_images as extract_images
from graphflow.contrib.learn.datasets.mnist import extract_labels as extract_labels
from graphflow.contrib.learn.datasets.mnist import read_data_sets as read_data_sets
